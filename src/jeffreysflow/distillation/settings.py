"""The settings of one level of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from jeffreysflow.distillation.divergences import JeffreysLoss
from jeffreysflow.distillation.selection import candidates
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel

__all__ = ["LevelSettings"]


@dataclass(frozen=True)
class LevelSettings:
    """How one level, from ``lam_0`` to ``lam_1`` of the path, is distilled.

    theta, order : weight of the reverse divergence and Renyi order; ``None`` leaves the choice to
        held-out samples, and then a flow that does worse than no flow is not used.
    kind, network : of the flow, with its settings (`flows.map`); dtype : of its training.
    ensemble : size of the ensemble that level 1 starts, in ``islands`` >= 3 equal parts that never
        mix (`parts`).
    batch : samples pushed at a time.
    resample_below : the ensemble is resampled when its ESS falls below this fraction.
    rejuvenation_steps : moves of the pushed ensemble by ``rejuvenation_kernel``, an exact one.
    """

    lam_0: float
    lam_1: float
    theta: float | None = None
    order: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    kind: str = "spline"
    network: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    ensemble: int = 20_000
    islands: int = 40
    batch: int = 20_000
    resample_below: float = 0.5
    rejuvenation_steps: int = 0
    rejuvenation_kernel: Kernel = field(default_factory=lambda: get_kernel("mala"))

    @property
    def candidates(self) -> tuple[JeffreysLoss, ...]:
        """The losses to try in turn."""
        return candidates(self.theta, self.order)

    @property
    def automatic(self) -> bool:
        """Whether something is left to choose."""
        return self.theta is None or self.order is None
