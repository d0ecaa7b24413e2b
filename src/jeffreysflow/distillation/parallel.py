"""Training by several processes, each with its rows of every batch, to what one would come to.

Every process draws the same batches from the same streams and keeps its `share` of the rows. What
is summed over the rows of a batch is summed over the processes by `total`, which is a sum on the
way forward and the identity on the way back. A loss ``L = f(S)`` with ``S = sum_p s_p``, where
``s_p`` is what process p sums over its rows, so has the gradient ``f'(S) ds_p`` in process p, and
`sum_gradients` makes ``dL = sum_p f'(S) ds_p`` of them, whatever f is: a mean over those rows that
met no wall, or the logarithm of a mean of exponentials. A backward pass that summed as well would
count each gradient once a process, and the average of gradients of each process's own loss is that
of a mean alone.

All that is decided during a step (clipping, a step that is skipped) follows from such sums, which
are the same bits everywhere, and so do parameters stay the same bits in every process. Outside of
`together` a process is alone, and what is here costs nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar, cast

import torch
from torch import nn

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Tally

__all__ = [
    "Group",
    "LostError",
    "agreed",
    "counted_by_all",
    "evaluated",
    "from_first",
    "log_sum_exp",
    "refuse_own_loss",
    "share",
    "sum_gradients",
    "together",
    "total",
    "totals",
]

_T = TypeVar("_T")

_SAME = 1e-4
"""Relative difference below which two processes have the same loss."""


class LostError(Exception):
    """Another process of the group has ended."""


class Group(Protocol):
    """``size`` processes, of which this one is number ``rank``, that all make the same calls.

    Both raise ``LostError`` where another process has ended.
    """

    rank: int
    size: int

    def all_reduce(self, x: torch.Tensor, operation: Literal["sum", "max"]) -> None:
        """Replace ``x``, of one shape everywhere, by its sum or maximum over the processes."""

    def broadcast(self, value: Any) -> Any:
        """The value that the first process gives."""


class _Place(threading.local):
    group: Group | None = None
    tally: Tally
    known: tuple[int, int]


_here = _Place()


@contextmanager
def together(group: Group, tally: Tally) -> Iterator[None]:
    """Meanwhile this thread is one of a group; ``tally`` counts its evaluations."""
    _here.group, _here.tally, _here.known = group, tally, (tally.count, tally.solves)
    try:
        yield
    finally:
        _here.group = None


def share(n: int) -> slice:
    """Which of the ``n`` rows of a batch are those of this process.

    Raises
    ------
    UserError : there are fewer rows than processes.
    """
    group = _here.group
    if group is not None and n < group.size:
        raise UserError(
            f"training.processes: found {group.size}, but a batch has {n} samples; "
            f"allowed: 1 to {n}"
        )
    return _part(n)


def _part(n: int) -> slice:
    group = _here.group
    if group is None:
        return slice(0, n)
    return slice(group.rank * n // group.size, (group.rank + 1) * n // group.size)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, group: Group) -> torch.Tensor:
        summed = x.clone()
        group.all_reduce(summed, "sum")
        return summed

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def total(x: torch.Tensor) -> torch.Tensor:
    """The sum of ``x`` over the processes; its gradient is that of the process's own ``x``."""
    group = _here.group
    if group is None:
        return x
    return cast(torch.Tensor, _Total.apply(x, group))  # type: ignore[no-untyped-call]


def totals(x: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sums of two numbers over the processes, in one message."""
    if _here.group is None:
        return x, count
    summed = total(torch.stack([x, count.to(x)]))
    return summed[0], summed[1]


def log_sum_exp(x: torch.Tensor) -> torch.Tensor:
    """``log sum exp(x)`` over ``x`` [n >= 1] of every process."""
    group = _here.group
    if group is None:
        return torch.logsumexp(x, dim=0)
    lowest = torch.finfo(x.dtype).min
    # what is not finite reaches the sum by itself, and must not become the scale of the others
    largest = x.detach().amax().nan_to_num(lowest, lowest, lowest)
    group.all_reduce(largest, "max")
    return total((x - largest).exp().sum()).log() + largest


def evaluated(
    energy: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Energies [n] of ``x`` [n, d], the same in all processes, each evaluated by one of them."""
    if _here.group is None:
        return energy(x).to(dtype)
    part = _part(len(x))
    U = x.new_zeros(len(x), dtype=dtype)
    if len(x[part]):
        U[part] = energy(x[part]).to(dtype)
    return total(U)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its sum over the processes."""
    group = _here.group
    if group is None:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    group.all_reduce(flat, "sum")
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def refuse_own_loss(value: torch.Tensor, loss: object) -> None:
    """
    Raises
    ------
    UserError : ``value`` of the loss is another one in another process.
    """
    group = _here.group
    if group is None:
        return
    ends = torch.stack([value.detach(), -value.detach()]).nan_to_num()
    group.all_reduce(ends, "max")
    highest, lowest = float(ends[0]), -float(ends[1])
    if not math.isclose(highest, lowest, rel_tol=_SAME, abs_tol=_SAME):
        raise UserError(
            f"loss {str(loss)!r}: its value differs between the processes of a training, since it "
            "sums over rows of a batch without `total` or `Bracket`; allowed: training.processes 1"
        )


def agreed(choice: bool) -> bool:
    """What the first process has chosen."""
    group = _here.group
    if group is None:
        return choice
    chosen = torch.tensor(int(choice and group.rank == 0))
    group.all_reduce(chosen, "max")
    return bool(chosen)


def from_first(value: _T) -> _T:
    """What the first process has."""
    group = _here.group
    return value if group is None else cast(_T, group.broadcast(value))


def counted_by_all(tally: Tally) -> int:
    """The count of ``tally``, which from then on knows what all processes have evaluated since
    this was last asked, or since they are `together`.
    """
    if _here.group is not None:
        here, (count, solves) = _here.tally, _here.known
        own = torch.tensor([here.count - count, here.solves - solves])
        everyones = own.clone()
        _here.group.all_reduce(everyones, "sum")
        here.add(*(everyones - own).tolist())
        _here.known = here.count, here.solves
    return tally.count
