"""Samples of a run of ours: a store of levels, an ensemble, or what was generated from a flow."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import zarr

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.stores.ensembles import Ensembles, open_ensemble
from jeffreysflow.stores.levels import Levels, open_levels
from jeffreysflow.stores.sample_files import PlaceOnPath, ReadSamples, SampleFormat

__all__ = ["OwnStore"]


class OwnStore(SampleFormat):
    """`store.zarr` of the levels of a reference, of which ``level`` names one, the last if it is
    left out; `ensemble.zarr` of a level of a flow, of which the islands that estimate; `store.zarr`
    of its generated samples, both with their weights. Islands and scramblings are trajectories.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".zarr",)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        store = _opened(file, level)
        if isinstance(store, Levels):
            return store.draws, store.walkers
        return len(store.estimating) // store.independent, store.independent

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        store = _opened(file, level)
        _check_temperature(file, store, target)
        path = store.attributes.get("path")
        if isinstance(store, Levels):
            k = len(store) - 1 if level is None else level
            x, U_0, V = store.samples(k).by_walker(store.walkers)
            lam = float(store.lam[k])
            U = interpolated(U_0, V, lam)
            return ReadSamples(x.numpy(), None, U.numpy(), place=PlaceOnPath(path, lam))
        lam = float(store.attributes.get("lam", 1.0))
        samples = store.samples().rows(store.estimating)
        U = interpolated(samples.U_0, samples.V, lam)
        return ReadSamples(
            _by_walker(samples.x, store.independent),
            _by_walker(samples.log_weights, store.independent),
            _by_walker(U, store.independent),
            place=PlaceOnPath(path, lam),
        )


def _by_walker(values: torch.Tensor, walkers: int) -> np.ndarray:
    """[draw, walker, ...] of rows [n, ...] of one walker after the other."""
    draws = len(values) // walkers
    rows = values[: draws * walkers].reshape(walkers, draws, *values.shape[1:])
    return rows.swapaxes(0, 1).contiguous().numpy()


def _opened(file: Path, level: int | None) -> Levels | Ensembles:
    kind = zarr.open_group(file, mode="r").attrs.get("kind")
    if kind == "levels":
        levels = open_levels(file)
        if level is not None and not level < len(levels):
            raise UserError(f"{file}: level {level}; allowed: 0 to {len(levels) - 1}")
        return levels
    if kind in ("ensemble", "generated"):
        if level is not None:
            raise UserError(f"{file}: 'level' is for a store of levels, this one holds {kind}")
        return open_ensemble(file, str(kind))
    raise UserError(f"{file}: no store of levels, of an ensemble or of generated samples")


def _check_temperature(file: Path, store: Levels | Ensembles, target: Potential) -> None:
    """Coordinates of a molecule are in units of their spread at its temperature."""
    ours = getattr(target, "temperature", None)
    theirs = store.attributes.get("temperature")
    if theirs is None or theirs == ours:
        return
    if ours is None:
        raise UserError(f"{file}: samples of a molecule, which the potential is not")
    raise UserError(
        f"{file}: energies and coordinates are in units of {theirs:g} K, the potential has "
        f"{ours:g} K; give it the temperature of the store, or write frames of the store "
        "(`jeffreysflow frames`), which have no such units, and take them with their weights: "
        "{file: frames.dcd, log_weights: frames.csv}"
    )
