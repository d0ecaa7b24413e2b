"""A device that is not there: tensors that say they live on it, while their numbers are here.

What is done with them the CPU does, but tensors of this machine beside them are refused, as any
device does, and what is read from the device is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jeffreysflow.device_streams import DeviceStream

DEVICE = torch.device("lazy")
"""One that torch has a name for and nothing else; what is differentiated there takes no thread."""

READ_ALL = {"nonzero", "masked_select", "equal"}
READ_ONE = {"_local_scalar_dense", "is_nonzero"}


class Elsewhere(torch.Tensor):
    """A tensor on the device; ``numbers`` are its own."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
        )
        made.numbers = numbers
        return made  # type: ignore[no-any-return]

    # these two torch does below its dispatch
    def new_tensor(self, data: Any, **keywords: Any) -> torch.Tensor:
        return torch.tensor(data, dtype=keywords.get("dtype", self.dtype)).to(DEVICE)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        raise AssertionError(f"{function}: used after the device was gone")


class StandIn(TorchDispatchMode):
    """Does what the device is asked for; ``read`` are the shapes of what was copied from it, ``()``
    for a single number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        keywords = dict(keywords or {})
        tensors = list(_tensors((arguments, tuple(keywords.values()))))
        there = [x for x in tensors if isinstance(x, Elsewhere)]
        name, place = function.overloadpacket.__name__, keywords.get("device")
        if place is not None:
            keywords["device"] = torch.device("cpu")
        if name == "_to_copy":
            stays = bool(there) if place is None else torch.device(place) == DEVICE
        elif name == "copy_":
            stays = isinstance(arguments[0], Elsewhere)
        else:
            stays = bool(there) or (place is not None and torch.device(place) == DEVICE)
            if there and any(x.dim() > 0 for x in tensors if not isinstance(x, Elsewhere)):
                raise RuntimeError(f"{function}: tensors on {DEVICE} and cpu")
        masked = name == "index" and any(
            i.dtype == torch.bool for i in arguments[1] if i is not None
        )
        if there and (masked or name in READ_ALL or not stays):
            self.read.append(tuple(there[0].shape))
        elif there and name in READ_ONE:
            self.read.append(())
        known = {id(x.numbers): x for x in there}

        def back(value: Any) -> Any:
            # an operation in place gives what it was given
            return known[id(value)] if id(value) in known else Elsewhere(value)

        here = {key: _each(_here, value) for key, value in keywords.items()}
        found = function(*_each(_here, tuple(arguments)), **here)
        return _each(back, found) if stays else found


def _here(value: torch.Tensor) -> torch.Tensor:
    return value.numbers if isinstance(value, Elsewhere) else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Those of lists of lists, the only kind of nesting that operations have."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _each(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """``value`` with the function of each of its tensors in their place."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_each(function, each) for each in value)
    return value


@contextmanager
def device_stood_in_for() -> Iterator[StandIn]:
    """Meanwhile there is the device, whose random numbers are torch's here."""

    def seeded(stream: DeviceStream, seed: int, device: torch.device) -> None:
        stream.device, stream._generator = device, torch.Generator().manual_seed(seed)

    with pytest.MonkeyPatch.context() as patch, StandIn() as device:
        patch.setattr(DeviceStream, "__init__", seeded)
        yield device
