"""A user's functions of numpy arrays, or of one configuration, as functions of torch samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

__all__ = ["Convention", "MapRows"]

MapRows = Callable[[str, np.ndarray], Sequence[Any]]
"""What the function of this name gives for each row [d] of an array [n, d]."""


class Convention(NamedTuple):
    """What a user's functions take and give.

    framework : torch tensors, or numpy arrays of float64.
    per_sample : one configuration [d] at a time instead of samples [n, d].
    """

    framework: Literal["torch", "numpy"] = "torch"
    per_sample: bool = False

    def adapted(
        self, function: Callable[..., Any], name: str = "", elsewhere: MapRows | None = None
    ) -> Callable[..., Any]:
        """``function`` as one of torch samples [n, d], and of other tensors beside them where it
        takes whole batches.

        Whatever each row or batch gives, numbers, arrays or pairs of them, becomes tensors with a
        leading dimension n. ``elsewhere`` calls the function ``name`` of one configuration in other
        processes.
        """
        if self == Convention():
            return function
        if self.framework == "torch" and elsewhere is None:
            return lambda x: _stacked_tensors([function(row) for row in x], x)
        if not self.per_sample:
            return lambda x, *more: _tensors(function(_array(x), *map(_copy, more)), x)

        def of_rows(x: torch.Tensor) -> Any:
            rows = _array(x)
            values = [function(row) for row in rows] if elsewhere is None else elsewhere(name, rows)
            return _tensors(_stacked(values), x)

        return of_rows


def _array(x: torch.Tensor) -> np.ndarray:
    # a copy, which the function may change
    return _copy(x.double())


def _copy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _tensors(values: Any, x: torch.Tensor) -> Any:
    if isinstance(values, tuple):
        return tuple(_tensors(value, x) for value in values)
    if np.iscomplexobj(values):
        # refused where it is looked at, like torch's; numpy would drop the imaginary part
        return torch.as_tensor(np.asarray(values), device=x.device)
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return values
    return torch.as_tensor(array, device=x.device)


def _stacked(values: Sequence[Any]) -> Any:
    if values and isinstance(values[0], tuple):
        return tuple(np.stack([np.asarray(v) for v in part]) for part in zip(*values, strict=True))
    return np.array([_number(value) for value in values])


def _stacked_tensors(values: Sequence[Any], x: torch.Tensor) -> Any:
    def tensor(value: Any) -> torch.Tensor:
        # a plain number is a double, and would become single precision
        dtype = None if isinstance(value, torch.Tensor) else x.dtype
        return torch.as_tensor(value, dtype=dtype).to(x.device)

    if isinstance(values[0], tuple):
        return tuple(torch.stack([tensor(v) for v in part]) for part in zip(*values, strict=True))
    return torch.stack([tensor(value) for value in values])


def _number(value: Any) -> float:
    if np.iscomplexobj(value):
        raise TypeError("one configuration must give one real number, found a complex one")
    array = np.asarray(value, dtype=np.float64)
    if array.ndim:
        raise TypeError(f"one configuration must give one number, found shape {list(array.shape)}")
    return float(array)
