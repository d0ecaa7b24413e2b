"""Means of coordinates on lines as smooth functions of angles."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["TrigonometricMeans", "waves"]


class TrigonometricMeans(nn.Module):
    """``m(a) = sum_f c_f cos(n_f . a) + s_f sin(n_f . a)`` of angles a in radian.

    Parameters
    ----------
    frequencies : [F, m] integers n_f.
    cosines, sines : [F, p], c_f and s_f.
    """

    frequencies: torch.Tensor
    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(
        self, frequencies: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> None:
        super().__init__()
        if not frequencies.shape[0] == cosines.shape[0] == sines.shape[0]:
            raise ValueError("every frequency needs a cosine and a sine")
        for name, value in {"cosines": cosines, "sines": sines}.items():
            self.register_buffer(name, value.to(torch.float64).contiguous())
        self.register_buffer("frequencies", frequencies.to(torch.int64))

    def forward(self, angles: torch.Tensor) -> torch.Tensor:
        """``m`` [n, p] at angles [n, m]."""
        cosines, sines = waves(angles, self.frequencies)
        return cosines @ self.cosines.to(angles) + sines @ self.sines.to(angles)


def waves(angles: torch.Tensor, frequencies: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``cos(n_f . a)`` and ``sin(n_f . a)``, each [n, F], of angles [n, m] and integers [F, m]."""
    phases = angles @ frequencies.to(angles).T
    return phases.cos(), phases.sin()
