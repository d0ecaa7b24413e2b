"""The learned weights of one level, beside its exact ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from jeffreysflow.distillation.ensemble import conditional_ess, effective_sample_size
from jeffreysflow.distillation.residual import learned_increments
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.step import Pushed, Step
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["learned_weights"]


def learned_weights(
    path: AnnealingPath,
    settings: LevelSettings,
    step: Step,
    pushed: Pushed,
    below: Mapping[str, torch.Tensor],
    stream: Callable[[str], Stream],
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """By name the learned log weights [n] of the ensemble that was ``pushed``, given those of the
    one ``below``, and facts about them; see ``distill_level``.
    """
    ensemble, increments, _ = pushed
    estimate = step.rows["estimate"]
    found: dict[str, torch.Tensor] = {}
    facts: dict[str, float] = {}
    for name, residual in settings.residual_weights.items():
        already = path.evaluations
        learned = learned_increments(
            path,
            settings.lam_0,
            settings.lam_1,
            step.below,
            ensemble,
            increments,
            step.rows["train"],
            step.rows["choose"],
            residual,
            stream(f"residual {name}"),
        )
        before = below.get(name, step.below.log_weights)
        found[name] = before + learned.increments
        facts |= {
            f"learned_ess:{name}": effective_sample_size(found[name][estimate]),
            f"learned_cess:{name}": conditional_ess(before[estimate], learned.increments[estimate]),
            f"learned_loss:{name}": learned.loss,
            f"learned_evaluations:{name}": float(path.evaluations - already),
        }
    return found, facts
