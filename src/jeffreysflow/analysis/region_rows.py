"""Populations of the named regions, and their free energies above that of the first one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import from_series, jackknifed
from jeffreysflow.estimation.observables import observable_values
from jeffreysflow.launch.measured import Measured
from jeffreysflow.stores.levels import Levels
from jeffreysflow.stores.tables import (
    BY_ALL_LEVELS,
    FREE_ENERGY,
    REGION,
    REGION_BY_LEVEL,
    REGION_RHAT,
    TemperatureRow,
)
from jeffreysflow.tempering.diagnostics import series_diagnostics

__all__ = [
    "add_free_energies_of_groups",
    "add_free_energies_of_series",
    "add_regions_by_all_levels",
    "add_regions_of_levels",
]


def _free_energies(population: torch.Tensor) -> torch.Tensor:
    """``F_i - F_0 = -log(p_i / p_0)`` [regions] in kT."""
    return population[0].log() - population.log()


def add_free_energies_of_groups(
    table: EstimateTable, measured: Measured, groups: Sequence[WeightedSums]
) -> None:
    """Of weighted samples in independent groups, with errors by leaving out one at a time."""
    if len(measured.regions) < 2:
        return

    def functional(part: WeightedSums) -> torch.Tensor:
        return _free_energies(measured.of_regions(part.means))

    values, (errors, dof) = functional(combined(groups)), jackknifed(groups, functional)
    _add(table, measured, values, errors, dof)


def add_free_energies_of_series(
    table: EstimateTable, measured: Measured, series: torch.Tensor
) -> None:
    """Of correlated samples, ``series`` [draw, walker, all that is measured]: to first order each
    sample moves ``F_i - F_0`` by ``1_0 / p_0 - 1_i / p_i``.
    """
    if len(measured.regions) < 2:
        return
    inside = measured.of_regions(series.movedim(2, 0)).movedim(0, 2)
    population = inside.flatten(0, 1).mean(dim=0)
    moved = inside[..., :1] / population[0] - inside / population
    found = from_series(moved.nan_to_num(0.0, 0.0, 0.0))
    _add(table, measured, _free_energies(population), found.errors, found.dof)


def _add(
    table: EstimateTable,
    measured: Measured,
    values: torch.Tensor,
    errors: torch.Tensor,
    dof: torch.Tensor,
) -> None:
    """None of a region that was not seen, nor above one; without an error where one of the two
    populations has none.
    """
    unsure = {row.quantity for row in table.rows if row.stderr is None and row.level == table.level}
    first, *others = measured.regions
    columns = (column.tolist()[1:] for column in (values, errors, dof))
    for region, value, error, its_dof in zip(others, *columns, strict=True):
        if math.isfinite(value):
            known = unsure.isdisjoint((first.name, region.name))
            name = f"{FREE_ENERGY}{region.name.removeprefix(REGION)}"
            table.add(name, value, error if known else math.nan, dof=its_dof)


def add_regions_of_levels(table: EstimateTable, measured: Measured, levels: Levels) -> None:
    """The population of every region at every level of a reference by counting, and R-hat of being
    inside it.
    """
    for k in range(len(levels)) if measured.regions else ():
        x, U_0, V = levels.samples(k)
        inside = observable_values(measured.regions, x, U_0 + V)
        series = inside.reshape(levels.draws, levels.walkers, -1)
        found = from_series(series)
        columns = (found.means.tolist(), found.errors.tolist(), found.dof.tolist())
        for j, (region, mean, error, dof) in enumerate(
            zip(measured.regions, *columns, strict=True)
        ):
            name = region.name.removeprefix(REGION)
            table.add(f"{REGION_BY_LEVEL}{name}", mean, error, k, dof=dof)
            table.add(f"{REGION_RHAT}{name}", series_diagnostics(series[..., j]).rhat, level=k)


def add_regions_by_all_levels(table: EstimateTable, ladder: Sequence[TemperatureRow]) -> None:
    """The populations at the target by the samples of all levels together (MBAR)."""
    for row in ladder:
        if row.lam == 1 and row.quantity.startswith(REGION):
            table.add(f"{BY_ALL_LEVELS}{row.quantity}", row.value, row.stderr, dof=row.dof)
