"""One section of a configuration laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jeffreysflow.config.loss import USUAL_LOSS
from jeffreysflow.config.network import USUAL_KIND

__all__ = ["merged"]

_USUAL_KINDS = {
    "base": "independent",
    "jacobian": "stepwise",
    "loss": USUAL_LOSS,
    "network": USUAL_KIND,
    "sampling": "importance",
}
"""What a section that names no kind is, by its key;"""
_ELSE = "tempering"
"""a reference, by its name."""
_SHARED = {"base": ("mean", "sd")}


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """``upper`` laid over ``lower``, section by section.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        if not (isinstance(value, Mapping) and isinstance(below, Mapping)):
            result[key] = value
        elif "kind" in value and value["kind"] != below.get("kind", _USUAL_KINDS.get(key, _ELSE)):
            # what is of another kind has other keys: nothing else of the old one may remain
            shared = {each: below[each] for each in _SHARED.get(key, ()) if each in below}
            result[key] = {**shared, **value}
        else:
            result[key] = merged(below, value)
    return result
