"""Values as files and command lines give them: of the kind a field asks for, finite, plain text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from jeffreysflow.errors import is_control, one_line, shown

__all__ = ["EXPONENT", "Paragraph", "SeveralLines", "check_plain", "kinds_of", "of_kind", "typed"]


class SeveralLines:
    """Marks a text that may be empty or have several lines."""


Paragraph = Annotated[str, SeveralLines]

EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
"""Numbers such as `1e3`, which are text in YAML 1.1."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)")
_WORDS = {"true": True, "false": False, "null": None}

_LONGEST_TEXT = 1000
_LONGEST_PARAGRAPH = 10_000
_LARGEST_DEPTH = 40
_DEPTH_OF_LISTS = 3
_MOST_VALUES = 100_000


def typed(value: Any) -> Any:
    """What a command line hands over as text, as a file would hold it.

    >>> typed({"rounds": "40", "theta": "6e-1", "generate": "true", "levels": "all"})
    {'rounds': 40, 'theta': 0.6, 'generate': True, 'levels': 'all'}
    """
    if isinstance(value, Mapping):
        return {key: typed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    if not isinstance(value, str):
        return value
    if _INTEGER.fullmatch(value):
        return int(value)
    if _DECIMAL.fullmatch(value) or EXPONENT.fullmatch(value):
        return float(value)
    return _WORDS.get(value, value)


def kinds_of(annotation: Any) -> frozenset[Any]:
    """The types that an annotation has for single values, and the literal texts it allows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return frozenset(arguments)
    if not arguments:
        return frozenset({annotation})
    inside = {Annotated: arguments[:1], dict: arguments[1:]}.get(origin, arguments)
    return frozenset().union(*map(kinds_of, inside))


def of_kind(value: Any, kinds: frozenset[Any], at: str) -> Any:
    """A value for a field of these kinds, which is at the key ``at``: numbers are numbers, and
    never -0; texts have one line.

    Raises
    ------
    PydanticCustomError : truth values or text where numbers belong, numbers that are not finite,
        control characters, empty texts; other mistakes are left to the field itself.
    """
    if value is None or any(isinstance(k, type) and issubclass(k, BaseModel) for k in kinds):
        return value
    if isinstance(value, str) and value in kinds:
        return value
    words = "".join(f" or {kind}" for kind in sorted(k for k in kinds if isinstance(k, str)))
    if Any in kinds:
        check_plain(value, at)
    elif {int, float} & kinds:
        return _numbers(value, at, f"a number{words}")
    elif bool in kinds and not isinstance(value, bool):
        allowed = f"true, false{words}" if words else "true or false"
        raise _refusal(at, f"must be {allowed}; found {shown(value)}")
    elif str in kinds:
        _check_texts(value, at, SeveralLines in kinds)
    return value


def check_plain(value: Any, at: str) -> None:
    """Whether a value of any kind is made of finite numbers, texts, truth values, lists and keys.

    Raises
    ------
    PydanticCustomError : another type, too deep or too many, or a bad number or text.
    """
    waiting, seen = [(value, at, 0)], 0
    while waiting:
        part, at, depth = waiting.pop()
        seen += 1
        if depth > _LARGEST_DEPTH or seen > _MOST_VALUES:
            raise _refusal(at, f"more than {_LARGEST_DEPTH} levels or {_MOST_VALUES} values")
        if isinstance(part, Mapping):
            for key, below in part.items():
                if isinstance(key, str):
                    _check_characters(key, at, paragraph=False)
                waiting.append((key, f"{at}.{key}", depth + 1))
                waiting.append((below, f"{at}.{key}", depth + 1))
        elif isinstance(part, list | tuple):
            waiting += [(below, f"{at}.{i}", depth + 1) for i, below in enumerate(part)]
        elif isinstance(part, str):
            _check_characters(part, at, paragraph=True)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            _numbers(part, at, "a number")
        elif part is not None and not isinstance(part, bool):
            raise _refusal(at, f"must be a number, text, list or keys; found {shown(part)}")


def _numbers(value: Any, at: str, what: str, depth: int = 0) -> Any:
    if isinstance(value, bool | bytes):
        raise _refusal(at, f"must be {what}; found {shown(value)}")
    if isinstance(value, str):
        number = any(kind.fullmatch(value) for kind in (_INTEGER, _DECIMAL, EXPONENT))
        hint = ", a text: leave out the quotes" if number else ""
        raise _refusal(at, f"must be {what}; found {shown(value)}{hint}")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise _refusal(at, f"must be a number below 2^63; found {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(at, f"must be a finite number; found {shown(value)}")
    if isinstance(value, float) and value == 0:
        return 0.0
    if depth < _DEPTH_OF_LISTS and isinstance(value, list | tuple):
        return [_numbers(part, f"{at}.{i}", what, depth + 1) for i, part in enumerate(value)]
    if depth < _DEPTH_OF_LISTS and isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool):
                raise _refusal(at, f"a key must not be {shown(key)}")
        return {key: _numbers(part, f"{at}.{key}", what, depth + 1) for key, part in value.items()}
    return value


def _check_texts(value: Any, at: str, paragraph: bool, depth: int = 0) -> None:
    if isinstance(value, str):
        if not value.strip() and not paragraph:
            raise _refusal(at, "must not be empty")
        _check_characters(value, at, paragraph)
    elif isinstance(value, bytes):
        raise _refusal(at, f"must be text, found {shown(value)}")
    elif depth < _DEPTH_OF_LISTS and isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check_texts(part, f"{at}.{i}", paragraph, depth + 1)


def _check_characters(text: str, at: str, paragraph: bool) -> None:
    longest = _LONGEST_PARAGRAPH if paragraph else _LONGEST_TEXT
    if len(text) > longest:
        raise _refusal(at, f"must have at most {longest} characters, found {len(text)}")
    bad = [c for c in text if is_control(c) and not (paragraph and c in "\n\t")]
    if bad:
        what = "a line break" if bad[0] in "\r\n" else "the control character " + ascii(bad[0])
        raise _refusal(at, f"must be one line of plain text, found {what} in {shown(text)}")


def _refusal(at: str, message: str) -> PydanticCustomError:
    context = {"message": message, "at": one_line(at)}
    return PydanticCustomError("not_plain", "{message}", context)
