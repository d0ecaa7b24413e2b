"""Exact samples, and exact means with small known errors, where an energy has an exact map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.jackknife import jackknife_error
from jeffreysflow.estimation.sobol import sobol_points
from jeffreysflow.potentials import Potential, get_potential, potential_names
from jeffreysflow.streams import Stream

__all__ = ["ExactMeans", "exact_inputs", "exact_means", "exact_samples"]

_ROWS_PER_BATCH = 1 << 11
_SMALLEST_UNIFORM = 2.0**-54


@dataclass(frozen=True)
class ExactMeans:
    """Means and variances [J] of functions under ``exp(-U) / Z``, and log Z.

    ``errors`` [J] and ``log_Z_error`` are standard errors. They say nothing of a function that is
    the same at all points (variance 0), such as an event that no point meets.
    """

    means: torch.Tensor
    errors: torch.Tensor
    variances: torch.Tensor
    log_Z: float
    log_Z_error: float


def exact_inputs(potential: Potential) -> int:
    """How many uniform numbers the exact map of an energy takes.

    Raises
    ------
    UserError : it has no such map.
    """
    if potential.exact_inputs is None:
        known = [name for name in potential_names() if get_potential(name).exact_inputs is not None]
        raise UserError(
            "truth by exact_map: this potential has no exact map; those that have one: "
            f"{', '.join(known)}; in one or two dimensions use 'quadrature', else leave 'truth' out"
        )
    return potential.exact_inputs


@torch.no_grad()
def exact_samples(
    potential: Potential, n: int, stream: Stream
) -> tuple[torch.Tensor, torch.Tensor]:
    """``n`` independent exact samples [n, d] and their natural log weights [n].

    Self-normalised averages with these weights are those of the target, up to their statistical
    error; ``log mean exp(log_weights)`` is log Z.

    Raises
    ------
    UserError : the energy has no exact map.
    """
    u = stream.uniform(n, exact_inputs(potential)).clamp(min=_SMALLEST_UNIFORM)
    x, log_weights = zip(*map(potential.exact_map, torch.split(u, _ROWS_PER_BATCH)), strict=True)
    return torch.cat(x), torch.cat(log_weights)


@torch.no_grad()
def exact_means(
    potential: Potential,
    values: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    samples: int = 1 << 20,
    scramblings: int = 32,
    *,
    energies: bool = True,
) -> ExactMeans:
    """Means of ``values(x [n, d], U [n]) -> [n, J]`` by randomised quasi-Monte Carlo.

    Scrambled Sobol points through the exact map (Owen 1998), self-normalised by its weights; errors
    are jackknifed over the independent scramblings. The points are always the same, so that exact
    values do not depend on an experiment's seed.

    Parameters
    ----------
    samples : all points together, ``scramblings`` times a power of two.
    energies : False where the values do not depend on U, which is 0 then, not evaluated.

    Raises
    ------
    UserError : the energy has no exact map.
    """
    inputs, each = exact_inputs(potential), samples // scramblings
    groups = []
    for scrambling in range(scramblings):
        parts = []
        for u in sobol_points(inputs, each, _ROWS_PER_BATCH, 0, "exact means", scrambling):
            x, log_weights = potential.exact_map(u)
            U = potential.energy(x) if energies else x.new_zeros(len(x))
            parts.append(WeightedSums.of(log_weights, values(x, U)))
        groups.append(combined(parts))
    whole = combined(groups)
    errors = jackknife_error(groups, _means_and_log_z)
    return ExactMeans(whole.means, errors[:-1], whole.variances, whole.log_z, float(errors[-1]))


def _means_and_log_z(sums: WeightedSums) -> torch.Tensor:
    return torch.cat([sums.means, sums.means.new_tensor([sums.log_z])])
