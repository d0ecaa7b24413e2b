"""Profiles as they are drawn, from the tables of bin probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from jeffreysflow.config import Experiment, ProfileConfig
from jeffreysflow.estimation.profiles import bin_scores, density, potential_of_mean_force
from jeffreysflow.report.data import Curve
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import PRIMITIVE, BeadRow, ProfileRow, read_table

__all__ = ["read_curves"]


def read_curves(layout: Layout, experiment: Experiment) -> list[Curve]:
    """Every profile of every reference, ensemble and flow; of a path integral, averages over the
    beads of the longest paths of each flow.

    Raises
    ------
    UserError : a table of profiles is missing or damaged.
    """
    if not experiment.profiles:
        return []
    if experiment.path_integral is not None:
        return _of_paths(layout, experiment, experiment.path_integral.beads[-1])
    files = {name: layout.reference(name).profiles for name in experiment.references}
    files |= {name: layout.flow(name).profiles for name in experiment.flows}
    curves = []
    for name, file in files.items():
        rows = read_table(file, ProfileRow)
        for source in dict.fromkeys(row.source for row in rows):
            for profile in experiment.profiles:
                key = (source, profile.expression)
                found = [row for row in rows if (row.source, row.profile) == key]
                curves.append(_curve(profile, f"{source}:{name}", found))
    return curves


def _of_paths(layout: Layout, experiment: Experiment, beads: int) -> list[Curve]:
    curves = []
    for name in experiment.generating:
        rows = read_table(layout.flow(name).beads, BeadRow)
        found = {row.quantity: row for row in rows if (row.beads, row.action) == (beads, PRIMITIVE)}
        for profile in experiment.profiles:
            ends = np.linspace(profile.lower, profile.upper, profile.bins + 1).tolist()
            bins = []
            for i, (lower, upper) in enumerate(pairwise(ends)):
                row = found[f"profile:{profile.expression}:{i}"]
                place = ("generated", profile.expression, i, lower, upper)
                # a bin that no path met has no error, which its score does not need
                bins.append(ProfileRow(*place, row.value, row.stderr or 0.0, row.exact))
            density = profile.model_copy(update={"kind": "density"})
            curves.append(_curve(density, f"generated:{name}", bins))
    return curves


def _curve(profile: ProfileConfig, source: str, rows: Sequence[ProfileRow]) -> Curve:
    edges = np.array([row.lower for row in rows] + [rows[-1].upper])
    value, error, exact, exact_error = (
        torch.tensor([_number(getattr(row, column)) for row in rows], dtype=torch.float64)
        for column in ("value", "stderr", "exact", "exact_stderr")
    )
    shape = potential_of_mean_force if profile.kind == "pmf" else density
    width = float(edges[1] - edges[0])
    curve, curve_error = shape(value, error, width)
    exact_curve, _ = shape(exact, exact_error, width)
    z = bin_scores(value, error.nan_to_num(0.0), exact, exact_error.nan_to_num(0.0))
    columns = (curve, curve_error, exact_curve, z)
    return Curve(profile.expression, source, edges, *(column.numpy() for column in columns))


def _number(cell: float | None) -> float:
    return math.nan if cell is None else cell
