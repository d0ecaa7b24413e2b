"""Energies that grow like a logarithm above a ceiling, for the reverse divergence alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jeffreysflow.distillation.divergences import Energy

__all__ = ["ClippedEnergy", "clipped_above"]

_QUANTILE = 0.999


@dataclass(frozen=True)
class ClippedEnergy:
    """``U`` up to the ``ceiling`` c, ``c + w log(1 + (U - c) / w)`` above it, kT, w the ``width``:
    smooth to the first derivative, and rising for ever, so that a sample in a clash is told where
    to go without drowning all others.

    +inf stays what it is, a wall. Weights never see it: they are made of ``energy`` itself.
    """

    energy: Energy
    ceiling: float
    width: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        U = self.energy(x)
        above = (U - self.ceiling).clamp(min=0.0)
        return torch.where(above > 0, self.ceiling + self.width * (above / self.width).log1p(), U)


def clipped_above(energy: Energy, U: torch.Tensor) -> ClippedEnergy:
    """Clipped above what samples of energies ``U`` [n] reach, all but one in a thousand, and again
    by so much as these lie above their median.
    """
    known = U[U.isfinite()].double()
    top = float(known.kthvalue(max(round(_QUANTILE * len(known)), 1)).values)
    width = max(top - float(known.median()), 1.0)
    return ClippedEnergy(energy, top + width, width)
