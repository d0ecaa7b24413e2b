"""Weighted samples of flows, and how much of their variance is that of random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.extended import ExtendedTarget
from jeffreysflow.flows.directions import row_normals
from jeffreysflow.streams import Stream

__all__ = ["Between", "Excess", "importance_batches", "measured_excess"]

_FEWEST = 20


class Between(NamedTuple):
    """A difference of means, with its standard ``error``."""

    difference: float
    error: float


class Excess(NamedTuple):
    """Variance of log weights, over the random numbers that they take at one base sample: its
    ``mean`` over base samples, with standard ``error``; ``each`` [n] an unbiased estimate of it at
    each of the samples ``x`` [n, d] of energies ``U`` [n].
    """

    mean: float
    error: float
    each: torch.Tensor
    x: torch.Tensor
    U: torch.Tensor

    def between(self, inside: torch.Tensor) -> Between | None:
        """How much larger it is where ``inside`` [n] holds than elsewhere; None where either has
        few samples. Estimates that are unbiased in the logarithm shift weights by half of that.
        """
        if min(int(inside.sum()), int((~inside).sum())) < _FEWEST:
            return None
        here, elsewhere = self.each[inside], self.each[~inside]
        variance = here.var() / len(here) + elsewhere.var() / len(elsewhere)
        return Between(float(here.mean() - elsewhere.mean()), math.sqrt(float(variance)))


def importance_batches(
    target: ExtendedTarget, base_points: Iterable[torch.Tensor], stream: Callable[[int], Stream]
) -> Iterator[Ensemble]:
    """Samples of base points [n, d] that come in batches; ``stream`` is that of the random numbers
    of each tile of rows.
    """
    first = 0
    for z in base_points:
        yield target.image(z, row_normals(stream, first, len(z), target.numbers, z.device))
        first += len(z)


def measured_excess(target: ExtendedTarget, n: int, stream: Stream) -> Excess | None:
    """From ``n`` base samples, the log weight of each with two independent sets of numbers; None
    where weights have nothing random, or hardly any is finite.
    """
    if target.numbers == 0:
        return None
    first = target.drawn(n, stream)
    again = target.at(first.source, stream.normal(*first.eps.shape, device=first.eps.device))
    difference = first.image.log_weights - again.image.log_weights
    known = difference.isfinite()
    if int(known.sum()) < _FEWEST:
        return None
    each = 0.5 * difference[known].square()
    x, U = first.image.x[known], (first.image.U_0 + first.image.V)[known]
    return Excess(float(each.mean()), float(each.std()) / math.sqrt(len(each)), each, x, U)
