"""What a symmetry says exactly of the weights of modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jeffreysflow.stores.tables import EstimateRow

__all__ = ["beside_equal_weights"]


def beside_equal_weights(
    rows: Sequence[EstimateRow], groups: Mapping[str, Sequence[str]]
) -> list[EstimateRow]:
    """The rows, of which the observables of a group of n modes of equal weight have the exact value
    1/n where none is known.
    """
    equal = {f"observable:{mode}": 1 / len(modes) for modes in groups.values() for mode in modes}
    return [
        row._replace(exact=equal[row.quantity], exact_stderr=0.0)
        if row.exact is None and row.quantity in equal
        else row
        for row in rows
    ]
