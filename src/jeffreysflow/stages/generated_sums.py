"""One pass over the generated samples of a flow: all that its estimates need."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.estimation.observables import Observable, observable_values
from jeffreysflow.estimation.pareto import LargestWeights
from jeffreysflow.progress import Progress
from jeffreysflow.stores.ensembles import open_ensemble

__all__ = ["GeneratedSums"]

_ROWS_AT_A_TIME = 1 << 18


class GeneratedSums:
    """One pass over the generated samples of a flow.

    ``blocks`` are sums over consecutive samples; ``groups`` the independent parts errors come from:
    the blocks of full size, or for Sobol points (``sequences`` of them) each scrambled sequence.
    """

    def __init__(
        self, path: Path, hash: str, observables: Sequence[Observable], experiment: Experiment
    ) -> None:
        self._store = open_ensemble(path, "generated", hash)
        self._n = len(self._store)
        self.sequences = int(self._store.attributes.get("scramblings", 0))
        sequence = self._n // self.sequences if self.sequences else None
        size = block_size(self._n, experiment.generation.convergence, sequence)
        self.largest = LargestWeights(self._n)
        self.blocks: list[WeightedSums] = []
        progress = Progress(self._n, f"estimate {experiment.name}", "samples")
        for x, log_weights, U in self._slabs(size):
            self.largest.add(log_weights)
            values = observable_values(observables, x, U)
            for part in zip(torch.split(log_weights, size), torch.split(values, size), strict=True):
                self.blocks.append(WeightedSums.of(*part))
            progress.update(sum(block.n for block in self.blocks))
        progress.close()
        each = 1 if sequence is None else sequence // size
        starts = range(0, len(self.blocks), each)
        groups = [combined(self.blocks[i : i + each]) for i in starts]
        self.groups = [group for group in groups if group.n == groups[0].n]

    def _slabs(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Samples [n, d], their log weights and target energies [n], whole blocks at a time."""
        start = 0
        for x, log_weights, U_0, V in self._store.batches(size * -(-_ROWS_AT_A_TIME // size)):
            U = U_0 + V
            bad = (log_weights.isnan() | (log_weights == math.inf)).nonzero()
            if len(bad):
                row = int(bad[0])
                raise UserError(
                    f"{self._store.path}: log weight {float(log_weights[row])} of sample "
                    f"{start + row} at x = {x[row].tolist()}"
                )
            absent = log_weights == -math.inf
            if bool(absent.any()) and not bool(absent.all()):
                # observables need not be defined where the weight is zero
                present = int((~absent).nonzero()[0])
                x = torch.where(absent[:, None], x[present], x)
                U = torch.where(absent, U[present], U)
            start += len(x)
            yield x, log_weights, U
