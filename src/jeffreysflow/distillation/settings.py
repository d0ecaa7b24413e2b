"""The settings of one level of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from jeffreysflow.distillation.loss import Loss, get_loss
from jeffreysflow.distillation.residual import ResidualSettings
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel

__all__ = ["LevelSettings"]


@dataclass(frozen=True)
class LevelSettings:
    """How one level, from ``lam_0`` to ``lam_1`` of the path, is distilled.

    loss : what is minimised. Where it leaves a choice held-out samples choose, and a flow that does
        worse than no flow is not used.
    kind, network : of the flow, with its settings (`flows.map`); dtype : of its training.
    ensemble : size of the ensemble that level 1 starts, in ``islands`` >= 3 equal parts that never
        mix (`parts`).
    batch : samples pushed at a time; ``None``: as many as 200 MB hold.
    resample_below : the ensemble is resampled when its ESS falls below this fraction.
    rejuvenation_steps : moves of the pushed ensemble by ``rejuvenation_kernel``, an exact one, or a
        biased one with steps of ``rejuvenation_step``.
    clip_energy : whether the energy in the reverse divergence is clipped (`clipped_energy`).
    terms : of the mini-batches of a finite sum that losses see; ``None``: the full sum.
    residual_weights : how weights are learned beside the exact ones, by name (`residual`).
    """

    lam_0: float
    lam_1: float
    loss: Loss = field(default_factory=lambda: get_loss("jeffreys"))
    recipe: Recipe = field(default_factory=Recipe)
    kind: str = "spline"
    network: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    ensemble: int = 20_000
    islands: int = 40
    batch: int | None = None
    resample_below: float = 0.5
    rejuvenation_steps: int = 0
    rejuvenation_kernel: Kernel = field(default_factory=lambda: get_kernel("mala"))
    rejuvenation_step: float | None = None
    clip_energy: bool = False
    terms: int | None = None
    residual_weights: Mapping[str, ResidualSettings] = field(default_factory=dict)
