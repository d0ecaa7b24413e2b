"""The v-prediction of a diffusion, by which a velocity is trained."""

from __future__ import annotations

import math

import torch

from jeffreysflow.distillation.velocity_matching import VelocityMatching

_QUARTER = 0.5 * math.pi


class VPredictionLoss(VelocityMatching):
    """``x_t = cos(pi t / 2) x_0 + sin(pi t / 2) x_1``, the variance-preserving diffusion. Its
    probability flow has the velocity ``(pi / 2) v``, with the ``v = cos(pi t / 2) x_1 - sin(pi t /
    2) x_0`` that is predicted (Salimans and Ho 2022, arXiv 2202.00512).

    Parameters
    ----------
    pairing : as of `flow_matching`.
    """

    def path(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (_QUARTER * t).cos(), (_QUARTER * t).sin()

    def rates(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return -_QUARTER * (_QUARTER * t).sin(), _QUARTER * (_QUARTER * t).cos()
