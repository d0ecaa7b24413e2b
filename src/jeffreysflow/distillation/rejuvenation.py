"""Rejuvenation: MALA moves that spread an ensemble's copies and leave its weights valid."""

from __future__ import annotations

import math

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernels import get_kernel

__all__ = ["rejuvenated"]


def rejuvenated(
    ensemble: Ensemble, path: AnnealingPath, lam: float, steps: int, stream: Stream
) -> tuple[Ensemble, float]:
    """The ensemble after ``steps`` MALA steps on ``U_lam``, and the mean acceptance.

    MALA leaves pi_lam invariant, so samples move and weights stay. The step size starts at a tenth
    of the smallest variance and adapts to the kernel's optimal acceptance with a falling gain.
    """
    kernel = get_kernel("mala")
    target = kernel.target_acceptance
    assert target is not None
    point = path.evaluate(ensemble.x)
    n = len(ensemble.x)
    level = ensemble.x.new_full((n, 1), lam)
    log_step = math.log(0.1 * float(path.domain.variance(ensemble.x).min()))
    accepted = 0.0
    for step in range(1, steps + 1):
        size = ensemble.x.new_full((n, 1), math.exp(log_step))
        point, acceptance = kernel.step(point, level, size, path, stream)
        mean = float(torch.nan_to_num(acceptance).mean())
        log_step += 2 / math.sqrt(step) * (mean - target)
        accepted += mean
    return Ensemble(point.x, ensemble.log_weights, point.U_0, point.V), accepted / max(steps, 1)
