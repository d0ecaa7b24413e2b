"""Energies and forces of molecules against OpenMM's Reference platform.

Configurations at several temperatures are drawn by OpenMM's Langevin integrator, without
constraints and without cutoff. At each, the batched energy (float64) and its gradient are compared
with OpenMM's Reference platform: the largest difference of energies, and the largest relative norm
of the difference of forces, of one configuration. Beside it what float32 costs.

Needs the extra `molecules`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _extras import without_openmm

from jeffreysflow.config.molecule import MoleculeConfig
from jeffreysflow.launch.molecule import model_of
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.openmm_files import Model
from jeffreysflow.molecules.openmm_system import force_field_of
from jeffreysflow.molecules.openmm_worker import openmm_energy
from jeffreysflow.molecules.units import GAS_CONSTANT

ALANINE = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"
PEPTIDE = str(Path(__file__).parents[2] / "workflow/experiments/structures/chignolin.pdb")
PRMTOP = {"prmtop": f"{ALANINE}.prmtop", "structure": f"{ALANINE}.crd"}
PDB = {"pdb": f"{ALANINE}.pdb", "structure": f"{ALANINE}.crd"}
MOLECULES = {
    "alanine dipeptide, ff96, OBC I": {**PRMTOP, "solvent": "OBC1"},
    "alanine dipeptide, ff99SB-ILDN, OBC II": {
        **PDB,
        "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"],
    },
    "alanine dipeptide, amber14, OBC I": {
        **PDB,
        "forcefield": ["amber14-all.xml", "implicit/obc1.xml"],
    },
    "GYDPETGTWG, ff99SB-ILDN, OBC II": {
        "pdb": PEPTIDE,
        "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"],
    },
}
HEADINGS = (
    *("molecule", "atoms", "configurations", "E, kJ/mol", "largest difference, kJ/mol"),
    *("of forces, relative", "in float32, kT at 300 K"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300, 500, 700, 1000])
    parser.add_argument("--configurations", type=int, default=300)
    parser.add_argument("--steps", type=int, default=100, help="of 1 fs between configurations")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if without_openmm():
        return
    if options.tiny:
        options.configurations, options.steps = 4, 2
    print("| " + " | ".join(HEADINGS) + " |")
    print("|---" * len(HEADINGS) + "|")
    for name, files in MOLECULES.items():
        model = model_of(MoleculeConfig.model_validate({**files, "temperature": 300}))
        print("| " + " | ".join([name, *compared(model, drawn(model, options))]) + " |", flush=True)


def drawn(model: Model, options: argparse.Namespace) -> torch.Tensor:
    """Positions [atom, 3, n] in nm, as many of each temperature."""
    import openmm

    integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.001)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(model.system, integrator, platform, {"Threads": "1"})
    frames = []
    for T in options.temperatures:
        integrator.setTemperature(T)
        context.setPositions(model.positions * openmm.unit.nanometer)
        context.setVelocitiesToTemperature(T, 1)
        integrator.step(10 * options.steps)
        for _ in range(options.configurations // len(options.temperatures)):
            integrator.step(options.steps)
            state = context.getState(getPositions=True)
            frames.append(np.array(state.getPositions(asNumpy=True)._value))
    return torch.from_numpy(np.stack(frames, axis=2))


def compared(model: Model, r: torch.Tensor) -> list[str]:
    """The cells of a row."""
    ours = force_field_of(model.system)
    E, forces = evaluated(ours, r)
    reference, expected = evaluated(openmm_energy(model.system), r)
    single, _ = evaluated(ours.float(), r.float())
    off = (forces - expected).flatten(0, 1).norm(dim=0) / expected.flatten(0, 1).norm(dim=0)
    rounded = (single - reference).abs() / (300 * GAS_CONSTANT)
    return [
        str(r.shape[0]),
        str(r.shape[2]),
        f"{float(reference.min()):.0f} to {float(reference.max()):.0f}",
        f"{float((E - reference).abs().max()):.1e}",
        f"{float(off.max()):.1e}",
        f"{float(rounded.max()):.1e}",
    ]


def evaluated(
    energy: torch.nn.Module | OtherProgram, r: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies [n] and forces [atom, 3, n], 50 configurations at a time."""
    energies, forces = [], []
    for part in torch.split(r, 50, dim=2):
        at = part.clone().requires_grad_()
        E = energy(at)
        energies.append(E.detach().double())
        forces.append(-torch.autograd.grad(E.sum(), at)[0].double())
    return torch.cat(energies), torch.cat(forces, dim=2)


if __name__ == "__main__":
    main()
