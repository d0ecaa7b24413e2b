"""The command `frames`: samples of a molecule as PDB and DCD, their log weights beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.spread_rows import so_many_rows
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_potential
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.trajectory import dcd_bytes, pdb_text
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import FrameRow, write_table

__all__ = ["write_frames"]

_ROWS = 1000


def write_frames(
    layout: Layout,
    experiment: Experiment,
    folder: Path,
    number: int,
    reference: str | None = None,
    flow: str | None = None,
    level: int = -1,
    ensemble: str | None = None,
) -> list[Path]:
    """Write `topology.pdb`, `frames.dcd` and `frames.csv` of ``number`` samples, from everywhere,
    of a ``level`` of a reference (all of equal weight), of what a ``flow`` generated, or of the
    weighted ``ensemble`` of a flow at a level, of the islands that no training saw. A sample of
    weight 0 is left out.

    Raises
    ------
    UserError : the energy is no molecule's; a store is missing, foreign or damaged; or there is no
        such level; ``number`` is none, no sample has a weight, or ``folder`` is a file.
    """
    if number < 1:
        raise UserError(f"frames: number must be at least 1, found {number}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, where a folder is needed")
    molecule = build_potential(experiment)
    if not isinstance(molecule, Molecule):
        raise UserError(f"{experiment.name}: its energy is not of a molecule, which frames show")
    if ensemble is not None:
        x, log_weights = _ensemble(layout, experiment, ensemble, level)
    else:
        x, log_weights = _samples(layout, experiment, reference, flow, level)
    kept = (log_weights > -torch.inf).nonzero().squeeze(1)
    if not len(kept):
        raise UserError(f"{experiment.name}: none of {len(x)} samples has a weight")
    count = min(number, len(kept))
    rows = kept[so_many_rows(len(kept), count)]
    parts = list(_evaluated(molecule, x[rows]))
    frames = torch.cat([r for r, _ in parts], dim=2).permute(2, 0, 1).numpy()
    energies = torch.cat([energy for _, energy in parts]).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("topology.pdb", "frames.dcd", "frames.csv")]
    files[0].write_text(pdb_text(molecule.topology, frames[0]))
    files[1].write_bytes(dcd_bytes(frames))
    weights = log_weights[rows].tolist()
    table = [FrameRow(i, *pair) for i, pair in enumerate(zip(weights, energies, strict=True))]
    write_table(files[2], FrameRow, table)
    return files


def _evaluated(molecule: Molecule, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    with torch.no_grad():
        for part in torch.split(x, _ROWS):
            yield molecule.positions(part), molecule.kilojoules(part)


def _ensemble(
    layout: Layout, experiment: Experiment, flow: str, level: int
) -> tuple[torch.Tensor, torch.Tensor]:
    steps = flow_steps(layout, experiment, flow)
    if not (level == -1 or 1 <= level <= steps):
        raise UserError(f"{experiment.name}/{flow}: level {level}; allowed: 1 to {steps}")
    store = layout.flow(flow).level(steps if level == -1 else level) / "ensemble.zarr"
    ensemble = open_ensemble(store, "ensemble", experiment.flow_hash(flow))
    samples = ensemble.samples().rows(ensemble.estimating)
    return samples.x, samples.log_weights


def _samples(
    layout: Layout, experiment: Experiment, reference: str | None, flow: str | None, level: int
) -> tuple[torch.Tensor, torch.Tensor]:
    if flow is not None:
        experiment.flow(flow)
        store = layout.flow(flow).generated / "store.zarr"
        ensemble = open_ensemble(store, "generated", experiment.generation_hash(flow)).samples()
        return ensemble.x, ensemble.log_weights
    assert reference is not None
    experiment.reference(reference)
    store = layout.reference(reference).levels / "store.zarr"
    levels = open_levels(store, experiment.reference_hash(reference))
    if not -len(levels) <= level < len(levels):
        raise UserError(
            f"{experiment.name}/{reference}: level {level}; allowed: 0 to {len(levels) - 1}"
        )
    x, _, V = levels.samples(level)
    return x, torch.zeros_like(V)
