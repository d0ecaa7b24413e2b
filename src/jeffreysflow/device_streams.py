"""Random numbers drawn where they are used, on a GPU, by torch's counter-based generator there."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["DeviceStream"]


class DeviceStream:
    """Random numbers of one unit of work on one device.

    On CUDA torch's generator is Philox (Salmon et al. 2011, doi 10.1145/2063384.2063405): a number
    is a function of seed and position. The same seed gives the same numbers on devices of one
    kind; CPU and GPU, and GPUs of different kinds, differ.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device)
        self._generator.manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, dtype=dtype, device=self.device, generator=self._generator)

    def uniform(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, dtype=dtype, device=self.device, generator=self._generator)

    def student(self, dof: float, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Student's t numbers, a normal one over the root of a chi-squared one over its ``dof``."""
        normal = self.normal(*shape, dtype=torch.float64)
        half = torch.full(shape, 0.5 * dof, dtype=torch.float64, device=self.device)
        chi_squared = 2 * torch._standard_gamma(half, generator=self._generator)
        return (normal * (dof / chi_squared).sqrt()).to(dtype)

    @property
    def state(self) -> dict[str, Any]:
        """A JSON-ready snapshot; assign it to another stream to continue there."""
        raw = bytes(self._generator.get_state().tolist())
        return {"device": self.device.type, "state": raw.hex()}

    @state.setter
    def state(self, snapshot: dict[str, Any]) -> None:
        raw = torch.tensor(list(bytes.fromhex(snapshot["state"])), dtype=torch.uint8)
        self._generator.set_state(raw)
