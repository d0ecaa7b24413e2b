"""One pass over the generated samples of a flow: all that its estimates need."""

from __future__ import annotations

from pathlib import Path

import torch

from jeffreysflow.analysis.checked_samples import ROWS_AT_A_TIME, checked_slabs
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.estimation.pareto import LargestWeights
from jeffreysflow.launch.measured import Measured
from jeffreysflow.progress import Progress
from jeffreysflow.stores.ensembles import open_ensemble

__all__ = ["GeneratedSums"]


class GeneratedSums:
    """One pass over the generated samples of a flow.

    ``blocks`` are sums over consecutive samples; ``groups`` the independent parts errors come from:
    the blocks of full size, or for Sobol points each of the ``sequences``, for Metropolis chains
    and sequential Monte Carlo (``sampling``) each of the ``islands``. Samples that are
    ``independent`` know their errors better than groups do.
    """

    def __init__(self, path: Path, hash: str, measured: Measured, experiment: Experiment) -> None:
        store = open_ensemble(path, "generated", hash)
        n = len(store)
        self.sequences = int(store.attributes.get("scramblings", 0))
        self.islands = int(store.attributes.get("islands", 0))
        self.independent = not (self.sequences or self.islands)
        sequence = None if self.independent else n // (self.sequences or self.islands)
        size = block_size(n, experiment.generation.convergence, sequence)
        self.largest = LargestWeights(n)
        self.blocks: list[WeightedSums] = []
        progress = Progress(n, f"estimate {experiment.name}", "samples")
        for x, log_weights, U in checked_slabs(store, size * -(-ROWS_AT_A_TIME // size)):
            self.largest.add(log_weights)
            values = measured.values(x, U)
            for part in zip(torch.split(log_weights, size), torch.split(values, size), strict=True):
                self.blocks.append(WeightedSums.of(*part))
            progress.update(sum(block.n for block in self.blocks))
        progress.close()
        each = 1 if sequence is None else sequence // size
        starts = range(0, len(self.blocks), each)
        groups = [combined(self.blocks[i : i + each]) for i in starts]
        self.groups = [group for group in groups if group.n == groups[0].n]

    @property
    def log_z_of_groups(self) -> torch.Tensor:
        """What each group says of log Z [groups]."""
        return torch.tensor([group.log_z for group in self.groups], dtype=torch.float64)
