"""What a fitted base asks of the rest of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.potential import BaseConfig
from jeffreysflow.config.reference import AnyReference
from jeffreysflow.errors import allowed_names, shown

__all__ = ["LevelOfBase", "check_fitted", "fitted_to", "level_for"]

LevelOfBase = Literal["first", "last"]


def fitted_to(base: BaseConfig, references: Mapping[str, AnyReference]) -> str:
    """The reference that a base is fitted to."""
    return base.reference or next(iter(references))


def level_for(base: BaseConfig, flow: FlowConfig) -> LevelOfBase:
    """The level that the base of a flow is fitted to: by default the one that it goes to first."""
    if base.level != "auto":
        return base.level
    return "first" if flow.levels == "all" else "last"


def check_fitted(
    base: BaseConfig,
    references: Mapping[str, AnyReference],
    flows: Mapping[str, FlowConfig],
    *,
    paths: bool,
) -> None:
    """
    Raises
    ------
    ValueError : no such reference, or several and none named, or one of a single sample; a
        reference that has a base already; a path_integral, a base with tails, or several processes
        a training.
    """
    if base.kind != "fitted":
        return
    if paths:
        raise ValueError("base.kind: a path_integral has a base of its own")
    if base.tails is not None:
        raise ValueError("base.tails: a fitted base is of Gaussians, leave it out")
    if base.reference is None and len(references) > 1:
        raise ValueError(f"base.reference: one of {', '.join(references)} is to be named")
    name = fitted_to(base, references)
    if name not in references:
        raise ValueError(
            f"base.reference: unknown reference {shown(name)}; {allowed_names(name, references)}"
        )
    if references[name].samples < 2:
        raise ValueError(
            f"base.reference: '{name}' has one sample, of which no base is fitted; allowed: at "
            "least 2"
        )
    annealed = [key for key, reference in references.items() if reference.path == "annealed"]
    if annealed:
        raise ValueError(
            f"references.{annealed[0]}.path: a base is fitted to samples, and the annealed path "
            "starts from a base; use the power path"
        )
    for key, flow in flows.items():
        if flow.training.processes > 1:
            raise ValueError(
                f"flows.{key}.training.processes: flows on a fitted base are trained by one process"
            )
