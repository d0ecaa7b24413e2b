"""What is watched beside a training: what there was before it, and how noisy its gradients were."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import jackknifed
from jeffreysflow.estimation.pareto import pareto_k

__all__ = ["gradient_facts", "worth_alone"]


def worth_alone(log_weights: torch.Tensor, islands: int) -> dict[str, float]:
    """What samples of the base are worth by themselves, from their log weights [n]: ``base_ess``
    and ``base_log_z``, with errors and degrees of freedom where there are eight islands, and
    ``base_pareto_k``. What training added is what is above this.
    """
    log_weights = log_weights.cpu()
    facts = {"base_pareto_k": pareto_k(log_weights)}
    none = log_weights.new_empty(len(log_weights) // islands, 0)
    groups = [WeightedSums.of(part, none) for part in torch.split(log_weights, len(none))]

    def functional(part: WeightedSums) -> torch.Tensor:
        return torch.tensor([part.ess, part.log_z], dtype=torch.float64)

    errors, dof = jackknifed(groups, functional)
    values = functional(combined(groups)).tolist()
    for name, value, error, its_dof in zip(
        ("base_ess", "base_log_z"), values, errors.tolist(), dof.tolist(), strict=True
    ):
        facts[name] = value
        if math.isfinite(error):
            facts |= {f"{name}_error": error, f"{name}_dof": its_dof}
    return facts


def gradient_facts(history: Sequence[HistoryRow], clip: float) -> dict[str, float]:
    """Of the second half of the steps: ``gradients_cut``, the share whose gradient was longer than
    ``clip``; ``gradient_spread``, by how many times the longest tenth exceed the median. Gradients
    of nearly always one length, hardly ever cut, say where to go; others are mostly noise.
    """
    norms = torch.tensor([row.gradient_norm for row in history[len(history) // 2 :]]).double()
    norms = norms[norms.isfinite()]
    if not len(norms) or not float(norms.median()) > 0:
        return {}
    return {
        "gradients_cut": float((norms > clip).double().mean()),
        "gradient_spread": float(norms.quantile(0.9) / norms.median()),
    }
