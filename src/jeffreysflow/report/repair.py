"""Whether the weights of a flow repair what is wrong with the reference it was trained on."""

from __future__ import annotations

from typing import NamedTuple

from jeffreysflow.judgement.scores import difference
from jeffreysflow.report.data import Results
from jeffreysflow.report.table import LARGEST_Z, largest_z

__all__ = ["repairs"]

_NOT_TRUSTED = ", which are not to be trusted"


def repairs(found: Results, reference: str) -> list[str]:
    """What the flows trained on a doubtful reference make of its estimates, a line a flow.

    Against exact values: the largest deviation before and after weighting. Without any: the largest
    difference between reference and flow, which says that one of them is wrong, not which.
    """
    before = largest_z(found, f"reference:{reference}")
    lines = []
    for flow in found.flows_of(reference):
        sources = {f"ensemble:{flow}": "its ensemble", flow: "fresh samples"}
        sources = {source: text for source, text in sources.items() if source in found.estimates}
        if before is None:
            lines += _moved(found, reference, flow, sources)
            continue
        after = [
            _After(text, *worst, trusted=found.is_trusted(source))
            for source, text in sources.items()
            if (worst := largest_z(found, source))
        ]
        if not after:
            continue
        numbers = ", ".join(
            f"{each.z:.1f} ({each.name}) by {each.text}" + _NOT_TRUSTED * (not each.trusted)
            for each in after
        )
        lines.append(
            f"{_verdict(before[1], after)} in flow {flow}: the largest "
            f"deviation of an observable is {before[1]:.1f} standard errors ({before[0]}) before, "
            f"{numbers}"
        )
    return lines


class _After(NamedTuple):
    """The largest deviation, and the average it is of, by weighted samples."""

    text: str
    name: str
    z: float
    trusted: bool


def _verdict(before: float, after: list[_After]) -> str:
    near = [each.z <= LARGEST_Z for each in after]
    if before <= LARGEST_Z:
        return "the weights keep its averages" if all(near) else "the weights spoil its averages"
    good = [each.z <= LARGEST_Z and each.trusted for each in after]
    if all(good):
        return "the weights repair it"
    if any(good):
        return "the weights repair some of it"
    # errors that are too large, or mean nothing, cover any deviation
    return "no weights to be trusted repair it" if any(near) else "the weights do not repair it"


def _moved(found: Results, reference: str, flow: str, sources: dict[str, str]) -> list[str]:
    theirs = {row.quantity: row for row in found.estimates.get(f"reference:{reference}", ())}
    lines = []
    for source, text in sources.items():
        moved = {}
        for row in found.estimates[source]:
            other = theirs.get(row.quantity)
            if other is not None and row.quantity.startswith("observable:"):
                moved[row.quantity.removeprefix("observable:")] = difference(row, other)
        moved = {name: z for name, z in moved.items() if abs(z) > LARGEST_Z}
        if moved:
            worst = max(moved, key=lambda name: abs(moved[name]))
            lines.append(
                f"flow {flow}: {text} move {len(moved)} averages by more than {LARGEST_Z:g} "
                f"standard errors, most {worst} ({moved[worst]:+.1f})"
            )
    return lines
