"""Langevin replica exchange of a molecule by OpenMM alone, as samples to import.

Several independent runs with OpenMM's Langevin integrator, for an experiment with
`potential: {molecule: ...}`, each from the reference structure. Writes `T300.npz` and so on, with
`x` [draw, run, coordinate] in the experiment's own coordinates and `U` [draw, run] in kJ/mol, and
prints the lines that import them (docs/samples.md). Frames that are cis, mirrored or have hydrogens
swapped are another molecule: their `log_weights` [draw, run] are -inf, and they are counted.

Needs the extra `molecules`. Langevin steps have a bias of their own: 1 fs and no constraints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _extras import without_openmm

from jeffreysflow.config import load_project, resolve_project
from jeffreysflow.launch.molecule import build_molecule, model_of

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="alanine_dipeptide")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1200, 850, 600, 425, 300])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=500, help="of 1 fs between draws")
    parser.add_argument("--folder", type=Path, default=Path("replica_exchange"))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if without_openmm():
        return
    if options.tiny:
        options.temperatures, options.runs, options.draws, options.steps = [600, 300], 2, 3, 2
    sample(options)


def sample(options: argparse.Namespace) -> None:
    import openmm

    project = load_project(ROOT / "config.yaml", {"experiments": options.experiment})
    experiment = resolve_project(project, ROOT)[options.experiment]
    section = experiment.potential.molecule
    assert section is not None
    molecule, model = build_molecule(section), model_of(section)
    n = len(options.temperatures)
    frames = np.empty((options.runs, options.draws, n, molecule.topology.atoms, 3))
    platform = openmm.Platform.getPlatformByName("Reference" if options.tiny else "CPU")
    unit = openmm.unit
    for run in range(options.runs):
        integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.001)
        integrator.setRandomNumberSeed(run + 1)
        context = openmm.Context(model.system, integrator, platform)
        generator = np.random.default_rng(run)
        positions = [model.positions * unit.nanometer] * n
        velocities = [None] * n
        for draw in range(-options.draws // 10, options.draws):
            energies = np.empty(n)
            for k, T in enumerate(options.temperatures):
                integrator.setTemperature(T)
                context.setPositions(positions[k])
                if velocities[k] is None:
                    context.setVelocitiesToTemperature(T, int(generator.integers(1, 1 << 30)))
                else:
                    context.setVelocities(velocities[k])
                integrator.step(options.steps)
                state = context.getState(getPositions=True, getVelocities=True, getEnergy=True)
                positions[k] = state.getPositions(asNumpy=True)
                velocities[k] = state.getVelocities(asNumpy=True)
                energies[k] = state.getPotentialEnergy()._value
                if draw >= 0:
                    frames[run, draw, k] = positions[k]._value
            swap(options.temperatures, energies, positions, velocities, generator, draw)
        print(f"run {run + 1} of {options.runs}")
    write(options, molecule, frames)


def swap(
    temperatures: list[float],
    energies: np.ndarray,
    positions: list,
    velocities: list,
    generator: np.random.Generator,
    draw: int,
) -> None:
    """Neighbours, even and odd pairs in turn; velocities are scaled to their new temperature."""
    beta = 1 / (8.31446261815324e-3 * np.array(temperatures))
    for k in range(draw % 2, len(temperatures) - 1, 2):
        log_ratio = (beta[k] - beta[k + 1]) * (energies[k] - energies[k + 1])
        if np.log(generator.uniform()) < log_ratio:
            scale = np.sqrt(temperatures[k + 1] / temperatures[k])
            positions[k], positions[k + 1] = positions[k + 1], positions[k]
            velocities[k], velocities[k + 1] = velocities[k + 1] / scale, velocities[k] * scale
            energies[k], energies[k + 1] = energies[k + 1], energies[k]


def write(options: argparse.Namespace, molecule: object, frames: np.ndarray) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    print("files:")
    for k, T in enumerate(options.temperatures):
        runs, draws = frames.shape[:2]
        r = torch.from_numpy(frames[:, :, k]).flatten(0, 1).permute(1, 2, 0).contiguous()
        found = molecule.coordinates(r)
        kept = found.kept.reshape(runs, draws)
        x = torch.full((runs, draws, molecule.dimension), torch.nan, dtype=torch.float64)
        x[kept] = found.x
        x[~kept] = molecule.structure
        with torch.no_grad():
            U = torch.cat(
                [molecule.kilojoules(part) for part in torch.split(x.flatten(0, 1), 1000)]
            )
        weights = {"log_weights": np.where(kept.T, 0.0, -np.inf)} if found.dropped else {}
        np.savez(
            options.folder / f"T{T:.0f}.npz",
            x=x.transpose(0, 1).numpy(),
            U=U.reshape(runs, draws).T.numpy(),
            **weights,
        )
        print(f"  - {{file: T{T:.0f}.npz, temperature: {T:.0f}}}")
        if found.dropped:
            print(f"    # of {runs * draws} frames {dict(found.dropped)} are another molecule")


if __name__ == "__main__":
    main()
