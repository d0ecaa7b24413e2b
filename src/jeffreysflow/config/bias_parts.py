"""References whose differences say what a bias is made of, level by level."""

from __future__ import annotations

from collections.abc import Mapping

from jeffreysflow.config.potential import TruthConfig
from jeffreysflow.config.reference import AnyReference, ReferenceConfig
from jeffreysflow.errors import allowed_names, shown

__all__ = ["check_bias_parts", "fixed_levels"]


def fixed_levels(references: Mapping[str, AnyReference]) -> list[tuple[str, float]]:
    """Path and lambda of the levels of all fixed ladders, in ascending order."""
    return sorted({(each.path, lam) for each in references.values() for lam in each.lambdas or ()})


def check_bias_parts(
    charts: Mapping[str, Mapping[str, str]],
    references: Mapping[str, AnyReference],
    truth: TruthConfig | None,
) -> None:
    """
    Raises
    ------
    ValueError : no exact values at all levels, no source, an unknown reference, other ladders.
    """
    for chart, parts in charts.items():
        where = f"bias_parts.{shown(chart)}"
        if truth is None or not truth.levels:
            raise ValueError(f"{where}: exact values at all levels, truth.levels, are needed")
        if not parts:
            raise ValueError(f"{where}: a source of bias, and its reference")
        for name in parts.values():
            if name not in references:
                raise ValueError(
                    f"{where}: unknown reference '{name}'; {allowed_names(name, references)}"
                )
        without = [name for name in parts.values() if references[name].lambdas is None]
        if without:
            raise ValueError(
                f"{where}: exact values are known at the levels of fixed ladders, and that of "
                f"'{without[0]}' is another kind"
            )
        if len({_ladder(references[name]) for name in parts.values()}) > 1:
            raise ValueError(f"{where}: its references have different ladders")


def _ladder(reference: AnyReference) -> str:
    if isinstance(reference, ReferenceConfig):
        return reference.ladder.model_dump_json()
    return str(reference.lambdas)
