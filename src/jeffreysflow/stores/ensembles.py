"""Weighted samples in Zarr: the ensemble of a level, and what is generated from a flow.

``x`` [sample, coordinate], ``log_weight``, ``U_0`` and ``V`` [sample]. The mean of
exp(log_weight) is the estimate of Z / Z_0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.stores.arrays import (
    complete_store,
    create_array,
    create_store,
    open_store,
    read_array,
)

__all__ = ["EnsembleWriter", "Ensembles", "open_ensemble", "write_ensemble"]

_CHUNK_BYTES = 1 << 20
_NAMES = ("x", "log_weight", "U_0", "V")


class EnsembleWriter:
    """Writes ``samples`` weighted samples that come in batches, whole chunks at a time."""

    def __init__(
        self, path: Path, kind: str, hash: str, samples: int, dimension: int, /, **attributes: Any
    ) -> None:
        self._path, self._samples, self._done = path, samples, 0
        self._rows = max(_CHUNK_BYTES // (8 * dimension), 1)
        self._group = create_store(path, kind, hash, **attributes)
        self._arrays = [
            create_array(
                self._group,
                name,
                (samples, dimension)[: 2 if name == "x" else 1],
                (self._rows, dimension)[: 2 if name == "x" else 1],
                ("sample", "coordinate")[: 2 if name == "x" else 1],
                units={"U_0": "kT", "V": "kT"}.get(name),
            )
            for name in _NAMES
        ]
        self._held: list[Ensemble] = []

    def write(self, batch: Ensemble) -> None:
        """Append a batch."""
        self._held.append(Ensemble(*(field.cpu() for field in batch)))
        held = sum(len(part.x) for part in self._held)
        if held >= self._rows or self._done + held >= self._samples:
            self._flush()

    def _flush(self) -> None:
        held = Ensemble(*map(torch.cat, zip(*self._held, strict=True)))
        last = self._done + len(held.x) >= self._samples
        n = len(held.x) if last else len(held.x) // self._rows * self._rows
        for array, field in zip(self._arrays, held, strict=True):
            array[self._done : self._done + n] = field[:n].numpy()
        self._done += n
        self._held = [Ensemble(*(field[n:] for field in held))] if n < len(held.x) else []

    def close(self, learned: Mapping[str, torch.Tensor] = MappingProxyType({})) -> None:
        """Say that all samples have been written, these learned log weights beside them."""
        if self._done != self._samples:
            raise ValueError(f"{self._done} of {self._samples} samples written")
        for name, values in learned.items():
            shape = (self._samples,), (self._rows,)
            array = create_array(self._group, f"learned_{name}", *shape, ("sample",))
            array[...] = values.cpu().numpy()
        complete_store(self._path, self._group)


def write_ensemble(
    path: Path,
    hash: str,
    ensemble: Ensemble,
    learned: Mapping[str, torch.Tensor] = MappingProxyType({}),
    /,
    **attributes: Any,
) -> None:
    """Write the ensemble of a level in one go, with the ``learned`` log weights [n] of each name as
    `learned_<name>`.
    """
    n, d = ensemble.x.shape
    writer = EnsembleWriter(path, "ensemble", hash, n, d, learned=list(learned), **attributes)
    writer.write(ensemble)
    writer.close(learned)


class Ensembles:
    """A finished store of weighted samples."""

    def __init__(self, path: Path, kind: str, expected_hash: str | None = None) -> None:
        group = open_store(path, kind, expected_hash)
        self.path = path
        self.attributes: dict[str, Any] = dict(group.attrs)
        self._arrays: list[Any] = [group[name] for name in _NAMES]
        self._learned: dict[str, Any] = {
            name: group[f"learned_{name}"] for name in self.attributes.get("learned", ())
        }

    def __len__(self) -> int:
        return int(self._arrays[0].shape[0])

    @property
    def dimension(self) -> int:
        return int(self._arrays[0].shape[1])

    def samples(self, start: int = 0, stop: int | None = None) -> Ensemble:
        """The samples from ``start`` to ``stop``.

        Raises
        ------
        UserError : a chunk is damaged; it is named.
        """
        rows = slice(start, stop)
        return Ensemble(
            *(torch.from_numpy(read_array(self.path, array, rows)) for array in self._arrays)
        )

    def rows(self, index: torch.Tensor) -> Ensemble:
        """The samples of rows [k] in rising order, of which a chunk is in memory at a time."""
        size = max(_CHUNK_BYTES // (8 * self.dimension), 1)
        parts = []
        for start in range(0, len(self), size):
            within = index[(start <= index) & (index < start + size)] - start
            if len(within):
                here = self.samples(start, start + size)
                parts.append(Ensemble(*(field[within] for field in here)))
        return Ensemble(*map(torch.cat, zip(*parts, strict=True)))

    @property
    def estimating(self) -> torch.Tensor:
        """The rows [k] of the islands that no flow was trained on or chosen by; all where the store
        does not tell islands.
        """
        islands = int(self.attributes.get("islands", 1))
        those = torch.tensor(self.attributes.get("estimate_islands", range(islands)))
        return torch.arange(len(self)).reshape(islands, -1)[those].flatten()

    @property
    def independent(self) -> int:
        """How many equal parts, one after the other, of these rows know nothing of each other:
        islands, or scramblings of Sobol points.
        """
        told = self.attributes
        islands = len(told.get("estimate_islands", range(int(told.get("islands", 1)))))
        return islands * int(told.get("scramblings", 1))

    @property
    def learned_names(self) -> list[str]:
        """The names of the learned weights."""
        return list(self._learned)

    def learned(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """The learned log weights of this name from ``start`` to ``stop``.

        Raises
        ------
        UserError : a chunk is damaged; it is named.
        """
        return torch.from_numpy(read_array(self.path, self._learned[name], slice(start, stop)))

    def batches(self, size: int) -> Iterator[Ensemble]:
        """All samples in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.samples(start, start + size)


def open_ensemble(path: Path, kind: str, expected_hash: str | None = None) -> Ensembles:
    """Open a store of kind "ensemble" or "generated" for reading.

    Raises
    ------
    UserError : there is none, it is foreign or incomplete, or lacks a chunk.
    """
    return Ensembles(path, kind, expected_hash)
