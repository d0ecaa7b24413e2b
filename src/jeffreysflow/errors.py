"""What a user sees when something they gave is wrong: one line, exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["UserError", "allowed_names", "one_line"]


class UserError(Exception):
    """Bad input. The message is one line: what, where, what is allowed, the nearest valid name."""

    exit_code = 2


def allowed_names(found: str, allowed: Iterable[str]) -> str:
    """The tail of a message about a wrong name: what is allowed and what was probably meant.

    >>> allowed_names("mla", ["mala", "hmc"])
    "allowed: hmc, mala; did you mean 'mala'?"
    """
    names = sorted(allowed)
    text = "allowed: " + ", ".join(names)
    nearest = get_close_matches(found, names, n=1, cutoff=0.5)
    return f"{text}; did you mean {nearest[0]!r}?" if nearest else text


def one_line(error: BaseException) -> str:
    """An exception in one line.

    >>> one_line(ValueError("no\\n  such value"))
    'ValueError: no such value'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
