"""Calling a user's function of samples, whatever it computes in and however it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch

from jeffreysflow.errors import UserError, described

__all__ = ["RobustFunction"]

Function = Callable[[torch.Tensor], Any]


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
    function : the user's.
    name : how errors call it, with its file.
    """

    def __init__(self, function: Function, name: str) -> None:
        self._function, self._name = function, name
        self._ways: dict[tuple[torch.dtype, bool], _Way] = {}

    def __call__(self, x: torch.Tensor) -> Any:
        """What the function gives.

        Raises
        ------
        UserError : it raises, or ends the process, with the first x at which it does.
        """
        asked = torch.is_grad_enabled() and x.requires_grad
        kind = x.dtype, asked
        if kind in self._ways:
            return self._values(x, self._ways[kind])
        first: UserError | None = None
        for way in _ways(*kind):
            try:
                values = self._values(x, way)
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

    def _values(self, x: torch.Tensor, way: _Way) -> Any:
        y = x.double() if way.double else x
        if way.gradients:
            with torch.enable_grad():
                values = self._called(y.detach().requires_grad_())
            values = values.detach() if isinstance(values, torch.Tensor) else values
        else:
            values = self._called(y)
        return values.to(x.dtype) if way.double and isinstance(values, torch.Tensor) else values

    def _called(self, x: torch.Tensor) -> Any:
        try:
            return self._function(x)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            self._refuse(error, x)

    def _refuse(self, error: BaseException, x: torch.Tensor) -> NoReturn:
        refusal = self.refusal(error, x)
        row = self._culprit(x, type(error))
        if row is not None:
            refusal = UserError(f"{refusal}, first at x = {row.tolist()}")
        raise refusal from error

    def _culprit(self, x: torch.Tensor, kind: type[BaseException]) -> torch.Tensor | None:
        """The first row on which the function raises such an error, by halving."""
        if not self._raises(x[:1], kind) and not self._raises(x, kind):
            return None
        while len(x) > 1:
            half = len(x) // 2
            if self._raises(x[:half], kind):
                x = x[:half]
            elif self._raises(x[half:], kind):
                x = x[half:]
            else:
                return None
        return x[0].detach()

    def _raises(self, x: torch.Tensor, kind: type[BaseException]) -> bool:
        try:
            self._function(x)
        except (Exception, SystemExit) as error:
            return isinstance(error, kind)
        return False


def _ways(dtype: torch.dtype, asked: bool) -> list[_Way]:
    doubles = [False, True] if dtype == torch.float32 else [False]
    return [_Way(double, on) for on in ([False] if asked else [False, True]) for double in doubles]
