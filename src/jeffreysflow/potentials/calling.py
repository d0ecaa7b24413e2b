"""Calling a user's function of samples, whatever it computes in and however it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch

from jeffreysflow.errors import UserError, described

__all__ = ["RobustFunction"]

_More = tuple[torch.Tensor, ...]


class _Way(NamedTuple):
    """In double precision whatever x is in; with gradients although nobody asks for them."""

    double: bool
    gradients: bool


class RobustFunction:
    """``function`` of samples [n, d].

    A function whose constants are float64 fails on float32 samples, and one that differentiates
    inside itself fails where gradients are off. Such a call is repeated in float64, with gradients,
    or both; what worked is remembered for all calls of the kind.

    Parameters
    ----------
    function : the user's; it may take more than samples.
    name : how errors call it, with its file.
    row_by_row : whether what it takes beside samples has a row a sample, too.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, *, row_by_row: bool = False
    ) -> None:
        self._function, self._name, self._row_by_row = function, name, row_by_row
        self._ways: dict[tuple[torch.dtype, bool], _Way] = {}

    def __call__(self, x: torch.Tensor, *more: torch.Tensor) -> Any:
        """What the function gives.

        Raises
        ------
        UserError : it raises, or ends the process, with the first x at which it does.
        """
        asked = torch.is_grad_enabled() and x.requires_grad
        kind = x.dtype, asked
        if kind in self._ways:
            return self._values(x, more, self._ways[kind])
        first: UserError | None = None
        for way in _ways(*kind):
            try:
                values = self._values(x, more, way)
            except UserError as error:
                if not isinstance(error.__cause__, RuntimeError):
                    raise
                first = first or error
            else:
                self._ways[kind] = way
                return values
        assert first is not None
        raise first

    def refusal(self, error: BaseException, x: torch.Tensor, what: str = "") -> UserError:
        """What to say of an error at ``x``, where the function or its derivative (``what``) raised
        it.
        """
        shape = f"[{len(x)}, {x.shape[1]}]"
        return UserError(f"{what}{self._name} raised on x of shape {shape}: {described(error)}")

    def _values(self, x: torch.Tensor, more: _More, way: _Way) -> Any:
        y = x.double() if way.double else x
        if way.gradients:
            with torch.enable_grad():
                values = self._called(y.detach().requires_grad_(), more)
            values = values.detach() if isinstance(values, torch.Tensor) else values
        else:
            values = self._called(y, more)
        # of a complex number the real part would be left
        real = isinstance(values, torch.Tensor) and not values.is_complex()
        return values.to(x.dtype) if way.double and real else values

    def _called(self, x: torch.Tensor, more: _More) -> Any:
        try:
            return self._function(x, *more)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            self._refuse(error, x, more)

    def _refuse(self, error: BaseException, x: torch.Tensor, more: _More) -> NoReturn:
        refusal = self.refusal(error, x)
        row = self._culprit(x, more, type(error))
        if row is not None:
            refusal = UserError(f"{refusal}, first at x = {row.tolist()}")
        raise refusal from error

    def _culprit(
        self, x: torch.Tensor, more: _More, kind: type[BaseException]
    ) -> torch.Tensor | None:
        """The first row on which the function raises such an error, by halving."""

        def raises(first: int, end: int) -> bool:
            part = tuple(each[first:end] for each in more) if self._row_by_row else more
            return self._raises(x[first:end], part, kind)

        first, end = 0, len(x)
        if not raises(0, 1) and not raises(0, end):
            return None
        while end - first > 1:
            half = first + (end - first) // 2
            if raises(first, half):
                end = half
            elif raises(half, end):
                first = half
            else:
                return None
        return x[first].detach()

    def _raises(self, x: torch.Tensor, more: _More, kind: type[BaseException]) -> bool:
        try:
            self._function(x, *more)
        except (Exception, SystemExit) as error:
            return isinstance(error, kind)
        return False


def _ways(dtype: torch.dtype, asked: bool) -> list[_Way]:
    doubles = [False, True] if dtype == torch.float32 else [False]
    return [_Way(double, on) for on in ([False] if asked else [False, True]) for double in doubles]
