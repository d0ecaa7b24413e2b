"""A user's module as a velocity: how it is called, and what a wrong one is told."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from jeffreysflow.errors import UserError, described

__all__ = ["called", "refuse_swapped", "what_went_wrong"]

_TIMES = {"t", "s", "tau", "time", "times", "timestep", "timesteps", "t_emb"}
_POSITIONS = {"x", "y", "z", "q", "r", "xt", "x_t", "pos", "position", "positions", "coords"}
_POSITIONS |= {"coordinates", "state", "states", "sample", "samples"}

_WITHOUT_DERIVATIVE = re.compile(r"forward AD with (\w+)")
_BY_PRODUCTS = {
    "_cdist_forward": ("torch.cdist", "differences of positions and the sum of their squares"),
    "_pdist_forward": ("torch.pdist", "differences of positions and the sum of their squares"),
}
_BY_HAND = re.compile(r"requires_grad|does not require grad|torch\.autograd")
_OF_ANOTHER_TYPE = re.compile(r"dtype|scalar type|should be the same")


def called(file: str, module: nn.Module, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """``v(x, t)`` [n, d] of ``x`` [n, d] at ``t`` [1, 1] or [n, 1]. Attention is made of products,
    whose derivatives torch knows forwards too.

    Raises
    ------
    UserError : the module raises, or gives something else.
    """
    try:
        # for modules that differentiate inside themselves
        with torch.enable_grad(), _attention_by_products():
            v = module(x, t.expand(len(x), 1))
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{file}: v(x, t) raised at t = {float(t.flatten()[0]):g}, x of shape "
            f"{list(x.shape)}: {what_went_wrong(error)}"
        ) from error
    if not isinstance(v, torch.Tensor) or v.shape != x.shape or v.dtype != x.dtype:
        raise UserError(
            f"{file}: v(x, t) must be [n, d] = {list(x.shape)} of {_name(x.dtype)} for "
            f"x of that shape, found {_found(v)}"
        )
    return v


def refuse_swapped(file: str, module: nn.Module) -> None:
    """
    Raises
    ------
    UserError : by the names of its parameters the module takes time first.
    """
    try:
        names = list(inspect.signature(module.forward).parameters)[:2]
    except (TypeError, ValueError):
        return
    if len(names) == 2 and names[0].lower() in _TIMES and names[1].lower() in _POSITIONS:
        raise UserError(
            f"{file}: velocity() makes a module that takes ({names[0]}, {names[1]}), time first; "
            "allowed: v(x [n, d], t [n, 1])"
        )


def what_went_wrong(error: BaseException) -> str:
    """An exception in one line, with what is allowed where that is known."""
    text = described(error)
    operation = _WITHOUT_DERIVATIVE.search(text)
    if operation:
        name, instead = _BY_PRODUCTS.get(operation[1], (operation[1], "operations that have one"))
        return f"{name} has no forward derivative in torch; allowed: {instead}"
    if _BY_HAND.search(text):
        return (
            "torch.autograd.grad and requires_grad_() do not work where v is differentiated "
            "itself; allowed: torch.func.grad of a function of x"
        )
    if _OF_ANOTHER_TYPE.search(text):
        return f"{text}; allowed: tensors made in the type of x (dtype=x.dtype)"
    return text


@contextlib.contextmanager
def _attention_by_products() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _found(v: object) -> str:
    if isinstance(v, torch.Tensor):
        return f"{list(v.shape)} of {_name(v.dtype)}"
    return f"a {type(v).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
