"""Averages along the ladder of a reference on the power path, by the samples of all levels."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from jeffreysflow.estimation.estimates import from_series
from jeffreysflow.estimation.mbar import reweighted
from jeffreysflow.launch.measured import Measured
from jeffreysflow.stores.levels import Levels
from jeffreysflow.stores.tables import TemperatureRow

__all__ = ["temperature_rows"]

_BETWEEN = 3
"""Temperatures between two levels that are asked for, too."""
_ROWS = 1 << 18
"""Samples of all levels together at most, evenly spread."""


def temperature_rows(levels: Levels, measured: Measured) -> list[TemperatureRow]:
    """The energy, log Z, the regions and the observables at every level and between them, with
    errors by walkers, beside what each level's own samples say. None of a single level, or where
    levels have too little in common.
    """
    if len(levels) < 2:
        return []
    names = [
        "U",
        *(region.name for region in measured.regions),
        *(f"observable:{each.name}" for each in measured.observables),
    ]
    every = math.ceil(levels.draws * levels.walkers * len(levels) / _ROWS)
    V, values, own = [], [], []
    for k in range(len(levels)):
        x, U_0, its_V = levels.samples(k)
        U = U_0 + its_V
        all_values = measured.values(x, U).T
        parts = [U[None], measured.of_regions(all_values), measured.of_observables(all_values)]
        column = torch.cat(parts).T.reshape(levels.draws, levels.walkers, -1)
        own.append(from_series(column))
        V.append(its_V.reshape(levels.draws, levels.walkers)[::every])
        values.append(column[::every])
    at = _between(levels.lam.tolist())
    try:
        found = reweighted(torch.stack(V), torch.stack(values), levels.lam.tolist(), at)
    except ValueError as reason:
        print(f"{levels.path.parent.parent.name}: no averages along the ladder: {reason}")
        return []
    rows = []
    level = {lam: k for k, lam in enumerate(levels.lam.tolist())}
    for i, lam in enumerate(at):
        log_z = float(found.log_z[i]), _known(found.log_z_errors[i])
        rows.append(TemperatureRow(lam, "log_z", *log_z, dof=_known(found.log_z_dof[i])))
        for j, name in enumerate(names):
            mean, error = float(found.means[i, j]), _known(found.errors[i, j])
            row = TemperatureRow(lam, name, mean, error, dof=_known(found.dof[i, j]))
            if lam in level:
                mine = own[level[lam]]
                row = row._replace(
                    counted=float(mine.means[j]),
                    counted_stderr=_known(mine.errors[j]),
                    counted_dof=_known(mine.dof[j]),
                )
            rows.append(row)
    return rows


def _between(lams: list[float]) -> list[float]:
    """The levels, and some values in geometric progression between each two.

    >>> _between([0.0625, 1.0])
    [0.0625, 0.125, 0.25, 0.5, 1.0]
    """
    found = lams[:1]
    for a, b in pairwise(lams):
        steps = [a * (b / a) ** (i / (_BETWEEN + 1)) for i in range(1, _BETWEEN + 1)]
        found += [*steps, b]
    return found


def _known(value: torch.Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
