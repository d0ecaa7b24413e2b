"""One seed, one independent random stream per unit of work.

A stream is addressed by the seed and by *what it is for* (``"three_well", "tempered", "tile", 3``),
never by the rank or worker that happens to draw from it, so the same work draws the same numbers
wherever and whenever it is done. On the CPU the numbers come from NumPy (a torch CPU generator
keeps only 32 bits of its seed, and its float64 normals take twice as long) and are handed out as
tensors; on another device they come from a generator there (`device_streams`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from jeffreysflow.device_streams import DeviceStream

__all__ = ["Stream", "derived_seed"]


def _words(address: tuple[str | int, ...]) -> tuple[int, ...]:
    digest = hashlib.sha256("\x1f".join(map(str, address)).encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))


def derived_seed(seed: int, *address: str | int) -> int:
    """A 31-bit seed for libraries that take an integer (scrambled Sobol sequences)."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=_words(address))
    return int(sequence.generate_state(1)[0] >> 1)


class Stream:
    """Random numbers of one unit of work, drawn on the ``device`` that is asked for.

    >>> a, b = Stream(7, "tile", 0), Stream(7, "tile", 0)
    >>> bool((a.normal(3, 2) == b.normal(3, 2)).all())
    True
    """

    def __init__(self, seed: int, *address: str | int) -> None:
        self._sequence = np.random.SeedSequence(entropy=seed, spawn_key=_words(address))
        self._generator = np.random.Generator(np.random.SFC64(self._sequence))
        self._elsewhere: DeviceStream | None = None

    def on(self, device: torch.device | str) -> DeviceStream | None:
        """The stream's numbers on another device than the CPU, of which there is one at most."""
        device = torch.device(device)
        if device.type == "cpu":
            return None
        if self._elsewhere is None:
            # the words after those that the CPU's generator starts from
            words = self._sequence.generate_state(8, np.uint64)
            self._elsewhere = DeviceStream(int(words[-1] >> np.uint64(1)), device)
        return self._elsewhere

    def normal(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Standard normal numbers. Drawn in float32 when ``dtype`` is float32."""
        elsewhere = self.on(device)
        if elsewhere is not None:
            return elsewhere.normal(*shape, dtype=dtype)
        drawn = np.float32 if dtype == torch.float32 else np.float64
        return torch.from_numpy(self._generator.standard_normal(shape, dtype=drawn)).to(dtype)

    def uniform(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Uniform numbers in [0, 1)."""
        elsewhere = self.on(device)
        if elsewhere is not None:
            return elsewhere.uniform(*shape, dtype=dtype)
        drawn = np.float32 if dtype == torch.float32 else np.float64
        return torch.from_numpy(self._generator.random(shape, dtype=drawn)).to(dtype)

    def student(
        self,
        dof: float,
        *shape: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Student's t numbers of ``dof`` degrees of freedom, drawn in float64."""
        elsewhere = self.on(device)
        if elsewhere is not None:
            return elsewhere.student(dof, *shape, dtype=dtype)
        return torch.from_numpy(self._generator.standard_t(dof, shape)).to(dtype)

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        """Integers in [0, high), int64."""
        return torch.from_numpy(self._generator.integers(0, high, size=shape))

    def permutation(self, n: int) -> torch.Tensor:
        """A random order of 0..n-1."""
        return torch.from_numpy(self._generator.permutation(n))

    @property
    def state(self) -> dict[str, Any]:
        """A JSON-ready snapshot; assign it to another stream to continue there."""
        raw = self._generator.bit_generator.state
        snapshot = {**raw, "state": {"state": [int(word) for word in raw["state"]["state"]]}}
        if self._elsewhere is not None:
            snapshot["elsewhere"] = self._elsewhere.state
        return snapshot

    @state.setter
    def state(self, snapshot: dict[str, Any]) -> None:
        elsewhere = snapshot.get("elsewhere")
        cpu = {key: value for key, value in snapshot.items() if key != "elsewhere"}
        words = np.array(snapshot["state"]["state"], dtype=np.uint64)
        self._generator.bit_generator.state = {**cpu, "state": {"state": words}}
        self._elsewhere = None
        if elsewhere is not None:
            self._elsewhere = DeviceStream(0, torch.device(elsewhere["device"]))
            self._elsewhere.state = elsewhere
