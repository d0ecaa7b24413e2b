"""Scrambled Sobol points: a smooth map keeps their advantage over independent ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch

from jeffreysflow.potentials import Base
from jeffreysflow.streams import derived_seed

__all__ = ["sobol_base_points", "sobol_points"]

_BITS = 52


def sobol_points(
    dimension: int, n: int, batch: int, seed: int, *address: str | int
) -> Iterator[torch.Tensor]:
    """The first ``n`` points of one scrambled Sobol sequence in (0, 1)^d, in batches [m, d].

    Each address is an independent scrambling (Owen 1998; digital shift and linear matrix), every
    point of it exactly uniform, so averages are unbiased and the spread between scramblings is
    their error. Use a power of two for ``n``.
    """
    # here, because it takes a second that most stages need not spend
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimension, scramble=True, bits=_BITS, rng=derived_seed(seed, *address))
    for start in range(0, n, batch):
        # the middle of each of the 2^-52 cells, never 0 or 1, where a Gaussian has no quantile
        with warnings.catch_warnings():
            # it asks for powers of two, but what must be one is the total, not a batch
            warnings.filterwarnings("ignore", message="The balance properties")
            u = torch.from_numpy(sequence.random(min(batch, n - start)))
        yield u + 0.5 ** (_BITS + 1)


def sobol_base_points(
    base: Base, n: int, batch: int, seed: int, *address: str | int
) -> Iterator[torch.Tensor]:
    """``sobol_points`` as samples of the base, in batches [m, d]."""
    for u in sobol_points(base.dimension, n, batch, seed, *address):
        yield base.quantile(u)
