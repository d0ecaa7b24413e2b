"""Where the replicas of a run start."""

from __future__ import annotations

from typing import Protocol, Self

import torch

from jeffreysflow.streams import Stream

__all__ = ["Start"]


class Start(Protocol):
    """Independent samples: a base, or any other law that is easily drawn from."""

    @property
    def mean(self) -> torch.Tensor:
        """Their mean [d], on the device of the samples."""

    def sample(self, n: int, stream: Stream, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """``n`` of them [n, d]."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
