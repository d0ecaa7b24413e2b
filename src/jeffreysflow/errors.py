"""What a user sees when something they gave is wrong: one line, exit code 2."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import accumulate
from reprlib import Repr

__all__ = [
    "MapError",
    "UserError",
    "allowed_names",
    "described",
    "is_control",
    "one_line",
    "positive_integer",
    "shown",
]

_LONGEST = 500
_LONGEST_LIST = 300
"""Characters of a message, and of the names that one lists."""

_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class UserError(Exception):
    """Bad input. The message is one line: what, where, what is allowed, the nearest valid name.

    However long what the user gave, and whatever is in it: see ``one_line``.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class MapError(UserError):
    """A map that is none at some samples: it folds there, or where it leads is not found."""


def allowed_names(found: object, allowed: Iterable[object]) -> str:
    """The tail of a message about a wrong name: what is allowed and what was probably meant.

    >>> allowed_names("mla", ["mala", "hmc"])
    "allowed: hmc, mala; did you mean 'mala'?"
    >>> allowed_names("?", [f"name_{i:03}" for i in range(50)])[-20:]
    'name_029 and 20 more'
    """
    names = sorted(map(str, allowed))
    # a line with what is around it: of many names those at the front
    fit = sum(length <= _LONGEST_LIST for length in accumulate(len(name) + 2 for name in names))
    more = f" and {len(names) - fit} more" if fit < len(names) else ""
    text = "allowed: " + ", ".join(names[:fit]) + more
    nearest = get_close_matches(str(found)[:_LONGEST], names, n=1, cutoff=0.5)
    return f"{text}; did you mean {nearest[0]!r}?" if nearest else text


def described(error: BaseException) -> str:
    """An exception with its kind, in one line.

    >>> described(ValueError("no\\n  such value"))
    'ValueError: no such value'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_control(character: str) -> bool:
    """Whether a character moves the cursor, ends a line or turns the direction of a text, or is
    half a character.
    """
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return True
    return unicodedata.bidirectional(character) in _BIDIRECTIONAL


def one_line(text: str, longest: int = _LONGEST) -> str:
    """A text with its control characters escaped and, where it is long, without its middle.

    >>> one_line("two\\nlines")
    'two\\\\nlines'
    >>> one_line("abcdefghijklmnop", longest=9)
    'abcd...op'
    """
    escaped = "".join(map(_escaped, _shortened(text, longest)))
    return _shortened(escaped, longest)


def positive_integer(what: str, value: object) -> int:
    """``value``, where it is one.

    Raises
    ------
    UserError : it is something else, true among others.

    >>> positive_integer("kernel 'hmc': leapfrog_steps", 5)
    5
    """
    if type(value) is not int or value < 1:
        raise UserError(f"{what} must be a positive integer, found {value!r}")
    return value


def shown(value: object) -> str:
    """A value as messages show it, as YAML has it where it is short.

    >>> shown(True), shown("text"), shown({"key": 1}), shown(None)
    ('true', "'text'", 'keys and values', 'nothing')
    """
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        return f"a number of {value.bit_length()} bits"
    return _REPR.repr(value)


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    tail = (longest - 3) * 2 // 5
    return f"{text[: longest - 3 - tail]}...{text[-tail:]}"


def _escaped(character: str) -> str:
    if not is_control(character):
        return character
    return character.encode("unicode_escape").decode()


class _Repr(Repr):
    def repr_int(self, x: int, level: int) -> str:
        return shown(x) if x.bit_length() > _LONGEST else repr(x)


_REPR = _Repr()
_REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 12, 12, 4
_REPR.maxstring, _REPR.maxother, _REPR.maxlevel = 120, 120, 3
