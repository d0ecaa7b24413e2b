"""The common ground of all configuration sections: nothing unknown, nothing changed afterwards."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from jeffreysflow.config.plain import SeveralLines, kinds_of, of_kind
from jeffreysflow.discovery import names_in
from jeffreysflow.errors import allowed_names, one_line

__all__ = ["Section", "check_interval", "check_sobol_sizes", "checked_name"]


class Section(BaseModel):
    """A configuration section. An unknown key is refused with the nearest valid one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys_of_their_kind(cls, data: Any, info: ValidationInfo) -> Any:
        # what was written as JSON was checked before
        if not isinstance(data, dict) or info.mode == "json":
            return data
        for key in data:
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{key}'; {allowed}",
                    {"key": one_line(str(key)), "allowed": allowed_names(key, cls.model_fields)},
                )
        return {key: of_kind(value, _kinds(cls, key), key) for key, value in data.items()}


@cache
def _kinds(section: type[Section], field: str) -> frozenset[Any]:
    described = section.model_fields[field]
    marks = {mark for mark in described.metadata if mark is SeveralLines}
    return kinds_of(described.annotation) | marks


def check_interval(what: str, lower: float, upper: float, parts: int) -> None:
    """
    Raises
    ------
    ValueError : not lower < upper, or too narrow or too wide to be divided into ``parts``.
    """
    if not lower < upper:
        raise ValueError(f"{what}lower < upper, found {lower} and {upper}")
    each = (upper - lower) / parts
    finest = max(sys.float_info.min, 4 * math.ulp(max(abs(lower), abs(upper))))
    if not finest < each < math.inf:
        raise ValueError(
            f"{what}{lower} to {upper} cannot be divided into {parts} parts in double precision"
        )


def check_sobol_sizes(what: str, samples: int, scramblings: int) -> None:
    """Each scrambled Sobol sequence must be a power of two long, else it loses its balance.

    Raises
    ------
    ValueError : it is not; ``what`` needs it.
    """
    each, rest = divmod(samples, scramblings)
    if rest or each & (each - 1):
        raise ValueError(
            f"{what} needs samples = scramblings x a power of two, found "
            f"{samples} = {scramblings} x {samples / scramblings:g}"
        )


def checked_name(what: str, name: str, folders: Iterable[str | Path]) -> str:
    """``name``, which a file in one of the ``folders`` of a package has.

    Raises
    ------
    ValueError : none has.
    """
    known = names_in(folders)
    if name not in known:
        raise ValueError(f"unknown {what} '{name}'; {allowed_names(name, known)}")
    return name
