"""Whether the exact values of an experiment are such that exact samples go with them."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TruthRow, read_table

__all__ = ["is_held_by_its_box"]

_LARGEST_LOG_Z_ERROR = 1e-3


def is_held_by_its_box(layout: Layout, experiment: Experiment) -> bool:
    """Whether the density was found to lie in the box of its quadrature, but for a thousandth of
    its mass, and its grid to resolve it; True of an exact map, False without exact values.

    Raises
    ------
    UserError : `truth.csv` is missing or damaged.
    """
    truth = experiment.truth
    if truth is None or experiment.path_integral is not None:
        return False
    if truth.method == "exact_map":
        return True
    rows = read_table(layout.truth, TruthRow)
    return any(row.observable == "log_z" and row.stderr <= _LARGEST_LOG_Z_ERROR for row in rows)
