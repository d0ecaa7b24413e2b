"""The common ground of all configuration sections: nothing unknown, nothing changed afterwards."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from jeffreysflow.errors import allowed_names

__all__ = ["Section", "check_sobol_sizes"]


class Section(BaseModel):
    """A configuration section. An unknown key is refused with the nearest valid one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'; {allowed}",
                        {"key": str(key), "allowed": allowed_names(str(key), cls.model_fields)},
                    )
        return data


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
