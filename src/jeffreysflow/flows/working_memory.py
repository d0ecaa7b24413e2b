"""How much memory a function of samples takes, found by running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["numbers_a_row"]


def numbers_a_row(run: Callable[[int], object], rows: int) -> int:
    """Float64 numbers that ``run(n)`` has in memory at the same time at most, for each of its n
    rows: by what ``rows`` of them take more than half as many. What torch makes inside of one
    operation is not counted.
    """
    half = rows // 2
    return math.ceil((_most_bytes(run, rows) - _most_bytes(run, half)) / (8 * (rows - half)))


def _most_bytes(run: Callable[[int], object], n: int) -> int:
    watch = _Watch()
    with watch:
        run(n)
    return watch.most


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest number of bytes of tensors that operations made and that are still in use."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {_storage(each) for each in tree_leaves((args, kwargs)) if _is_dense(each)}
        made = func(*args, **(kwargs or {}))
        held = self._held.items()
        self._held = {at: each for at, each in held if not _is_free(each[0])}
        for each in tree_leaves(made):
            if _is_dense(each) and _storage(each) not in given:
                storage = each.untyped_storage()
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._held[_storage(each)] = reference, storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self._held.values()))
        return made


def _is_free(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


def _is_dense(each: object) -> bool:
    return isinstance(each, torch.Tensor) and each.layout == torch.strided


def _storage(each: torch.Tensor) -> int:
    return int(each.untyped_storage()._cdata)
