"""The bias of estimates against exact values, and how it falls with the number of samples, as the
effective sample size does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined

__all__ = ["BiasAtSize", "bias_by_size", "block_size", "convergence_slope", "noise_floor"]


class BiasAtSize(NamedTuple):
    """Bias of estimates from ``size`` samples, over ``blocks`` disjoint blocks of that size.

    ``rms`` its root mean square, with standard error (NaN for one block), ``first`` that of the
    first block, ``ess`` the mean effective sample size of a block, as a fraction.
    """

    size: int
    blocks: int
    rms: float
    rms_error: float
    first: float
    ess: float


def noise_floor(variances: torch.Tensor, n: int) -> float:
    """Root-mean-square bias ``sqrt(sum_j Var f_j / n)`` of ``n`` exact independent samples."""
    return math.sqrt(float(variances.sum()) / n)


def block_size(n: int, sizes: Sequence[int], sequence: int | None = None) -> int:
    """How many samples to sum at a time so that every size is a whole number of blocks.

    Without sizes, a 64th of the ``n`` samples. Blocks also divide ``sequence``, the length of one
    scrambled sequence, or of an island; without sizes they are the longest of up to a 64th that do,
    if that is not a tenth of it at most.

    Raises
    ------
    UserError : a size that is not a multiple of the smallest, or a smallest that neither divides
        the sequences nor is a multiple of them.
    """
    smallest = min(sizes, default=-(-n // 64))
    for size in sizes:
        if size % smallest:
            raise UserError(
                f"convergence sizes must be multiples of the smallest, {smallest}, found {size}"
            )
    if sequence is None:
        return smallest
    if not sizes:
        most = min(smallest, sequence)
        whole = next(block for block in range(most, 0, -1) if not sequence % block)
        return whole if 10 * whole >= most else sequence
    block = math.gcd(smallest, sequence)
    if block != min(smallest, sequence):
        raise UserError(
            "convergence sizes must divide the length of an island or of a Sobol sequence, "
            f"{sequence}, or be "
            f"multiples of it, found {smallest}"
        )
    return block


def bias_by_size(
    blocks: Sequence[WeightedSums], sizes: Sequence[int], exact: torch.Tensor
) -> list[BiasAtSize]:
    """Bias ``|means - exact|`` (Euclidean norm over observables) at each size.

    ``blocks`` are consecutive, of equal size, which divides every one of ``sizes``; ``exact``
    [observables] may hold NaN where no exact value is known, which leaves the observable out, and
    be shorter than what the blocks average, as bins of profiles come after the observables.
    """
    known = ~exact.isnan()
    rows = []
    for size in sizes:
        each = size // blocks[0].n
        starts = range(0, len(blocks) - each + 1, each)
        sums = [combined(blocks[i : i + each]) for i in starts]
        means = torch.stack([part.means for part in sums])
        ess = math.fsum(part.ess for part in sums) / len(sums)
        squares = (means[:, : len(exact)] - exact)[:, known].square().sum(dim=1)
        rms = math.sqrt(float(squares.mean()))
        spread = float(squares.std()) if len(squares) > 1 else math.nan
        error = spread / math.sqrt(len(squares)) / (2 * rms) if rms > 0 else math.nan
        rows.append(BiasAtSize(size, len(squares), rms, error, math.sqrt(float(squares[0])), ess))
    return rows


def convergence_slope(rows: Sequence[BiasAtSize]) -> tuple[float, float]:
    """Slope of log bias against log size and its standard error; -1/2 for unbiased estimates.

    Least squares weighted with the number of blocks: ``Var(log rms)`` is ``v / blocks``, with ``v``
    from the size that has the most blocks.
    """
    log_size = torch.tensor([row.size for row in rows], dtype=torch.float64).log()
    log_bias = torch.tensor([row.rms for row in rows], dtype=torch.float64).log()
    weights = torch.tensor([row.blocks for row in rows], dtype=torch.float64)
    centred = log_size - (weights * log_size).sum() / weights.sum()
    spread = (weights * centred.square()).sum()
    slope = (weights * centred * log_bias).sum() / spread
    most = max(rows, key=lambda row: row.blocks)
    v = most.blocks * (most.rms_error / most.rms) ** 2
    return float(slope), math.sqrt(v / float(spread))
