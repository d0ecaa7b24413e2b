"""Samples of a run of ours: a store of levels, an ensemble, or what was generated from a flow."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import zarr

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.ensembles import Ensembles, open_ensemble
from jeffreysflow.stores.levels import Levels, open_levels
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat

__all__ = ["OwnStore"]


class OwnStore(SampleFormat):
    """`store.zarr` of the levels of a reference, of which ``level`` names one, the last if it is
    left out; `ensemble.zarr` of a level of a flow; `store.zarr` of its generated samples, both
    with their weights.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".zarr",)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        store = _opened(file, level)
        if isinstance(store, Levels):
            return store.draws, store.walkers
        walkers = _walkers(store)
        return len(store) // walkers, walkers

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        store = _opened(file, level)
        if isinstance(store, Levels):
            _check_temperature(file, store, target)
            samples = store.samples(-1 if level is None else level).by_walker(store.walkers)
            power = store.attributes.get("path") == "power"
            U = samples.V if power else samples.U_0 + samples.V
            return ReadSamples(samples.x.numpy(), None, U.numpy())
        x, log_weights, *_ = (field.numpy() for field in store.samples())
        n, walkers = len(x) // _walkers(store), _walkers(store)
        fields = (values[: n * walkers] for values in (x, log_weights))
        return ReadSamples(
            *(
                values.reshape(walkers, n, *values.shape[1:]).swapaxes(0, 1).copy()
                for values in fields
            )
        )


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


def _check_temperature(file: Path, store: Levels, target: Potential) -> None:
    """Coordinates of a molecule are in units of their spread at its temperature."""
    ours = getattr(target, "temperature", None)
    theirs = store.attributes.get("temperature", ours)
    if theirs != ours:
        raise UserError(
            f"{file}: energies and coordinates are in units of {theirs:g} K, the potential has "
            f"{ours:g} K; give it the temperature of the store, or write frames of the store "
            "(`jeffreysflow frames`), which have no such units"
        )


def _walkers(store: Ensembles) -> int:
    """Islands of an ensemble never mix."""
    return int(store.attributes.get("islands", 1))
