"""How good samples of a base are by themselves, before any training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import jackknifed
from jeffreysflow.estimation.pareto import LEAST_ESS, PARETO_LIMIT, pareto_k
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["distrust", "weighed", "worth"]

_GROUPS = 32
_ROWS = 1 << 13
_FEWEST = 10.0
"""Samples that a base is worth at least where its ESS and log Z mean anything."""


@torch.no_grad()
def weighed(path: AnnealingPath, lam: float, n: int, stream: Stream) -> dict[str, float]:
    """``n`` samples of the base of a path with their exact weights ``exp(U_base - U_lambda)`` at
    ``lam``: ``ess`` and ``log_z``, each with its ``_error``, ``log_z_dof`` and ``pareto_k``.

    Raises
    ------
    UserError : the energy of one fails.
    """
    assert path.base is not None
    x = path.base.sample(n, stream)
    log_ratios = torch.cat(
        [path.base.energy(part) - path.energy(part, lam) for part in torch.split(x, _ROWS)]
    )
    log_weights = torch.where(log_ratios.isfinite(), log_ratios, -math.inf)
    none = torch.empty(n, 0).double()
    size = n // _GROUPS
    groups = [
        WeightedSums.of(log_weights[g * size : (g + 1) * size], none[:size]) for g in range(_GROUPS)
    ]

    def functional(part: WeightedSums) -> torch.Tensor:
        return torch.tensor([part.ess, part.log_z], dtype=torch.float64)

    errors, dofs = jackknifed(groups, functional)
    ess, log_z = functional(combined(groups)).tolist()
    return {
        "ess": ess,
        "ess_error": float(errors[0]),
        "log_z": log_z,
        "log_z_error": float(errors[1]),
        "log_z_dof": float(dofs[1]),
        "pareto_k": pareto_k(log_weights),
    }


def worth(found: Mapping[str, float], n: int) -> str:
    """What ``weighed`` found of ``n`` samples, in words."""
    effective, k = found["ess"] * n, ""
    if math.isfinite(found["pareto_k"]):
        k = f", Pareto k {found['pareto_k']:.2f}"
    if not effective:
        return f"on its own none of {n} samples has any weight: the target's density is 0 there"
    if effective < _FEWEST or math.isnan(found["ess_error"]):
        return (
            f"on its own {n} samples are worth {effective:.1f}{k}: it is far from the target, "
            "whose log Z they do not show; fit it to more samples, of walkers that have mixed"
        )
    return (
        f"on its own ESS {found['ess']:.1%} ± {found['ess_error']:.1%}{k}, log Z "
        f"{found['log_z']:.4f} ± {found['log_z_error']:.4f}"
    )


def distrust(found: Mapping[str, float]) -> str:
    """Why the log Z that ``weighed`` found is not to be relied on, in words; empty if it is."""
    ess, k = found["ess"], found["pareto_k"]
    if ess >= LEAST_ESS and k <= PARETO_LIMIT and math.isfinite(found["log_z_error"]):
        return ""
    return f"the base alone has ESS {ess:.1%} and Pareto k {k:.2f} at the hottest level"
