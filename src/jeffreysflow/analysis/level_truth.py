"""Exact values at every level of the fixed ladders, by quadrature: `level_truth.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.bias_parts import fixed_levels
from jeffreysflow.launch.measured import Measured
from jeffreysflow.launch.target import build_path
from jeffreysflow.potentials import AnnealingPath, Potential
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import LevelTruthRow, read_table, write_table
from jeffreysflow.truth.lattice_means import UnresolvedError, lattice_means

__all__ = ["Exact", "read_level_truth", "write_level_truth"]

Exact = tuple[torch.Tensor, torch.Tensor]
"""Means and variances of the observables at one level, [observables] each."""


class _AtLevel(Potential):
    """``U_lambda`` of a path."""

    def __init__(self, path: AnnealingPath, lam: float) -> None:
        super().__init__()
        self.domain, self._energy = path.domain, partial(path.energy, lam=lam)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._energy(x)


def write_level_truth(layout: Layout, experiment: Experiment, measured: Measured) -> None:
    """Write the exact values at each level of the fixed ladders, where they are asked for; none of
    a level whose density box or grid do not hold, which is said.
    """
    section = experiment.truth
    if section is None or not section.levels:
        return
    paths, rows = _paths(experiment), []

    def values(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        target = paths["annealed"].counted.energy(x) if measured.uses_energy else U
        return measured.of_observables(measured.values_where_finite(x, target).T).T

    for kind, lam in fixed_levels(experiment.references):
        try:
            level = _AtLevel(paths[kind], lam)
            exact = lattice_means(level, values, section.box, section.points)
        except UnresolvedError as error:
            print(f"{experiment.name}: no exact values at lambda {lam:.6g}: {error}", flush=True)
            continue
        names = [observable.name for observable in measured.observables]
        columns = exact.means.tolist(), exact.variances.tolist(), exact.known.tolist()
        rows += [
            LevelTruthRow(kind, lam, name, mean, variance)
            for name, mean, variance, sure in zip(names, *columns, strict=True)
            if sure
        ]
        unknown = [name for name, sure in zip(names, columns[2], strict=True) if not sure]
        if unknown:
            print(
                f"{experiment.name}: no exact values at lambda {lam:.6g} of {', '.join(unknown)}: "
                "too much of them lies outside truth.box, or truth.points are too few",
                flush=True,
            )
    write_table(layout.level_truth, LevelTruthRow, rows)


def _paths(experiment: Experiment) -> dict[str, AnnealingPath]:
    """By name, as references have them."""
    annealed = build_path(experiment)
    tally = annealed.counted.tally
    return {"annealed": annealed, "power": AnnealingPath(None, annealed.target, tally)}


def read_level_truth(
    layout: Layout, measured: Measured, path: str, lams: Sequence[float]
) -> list[Exact | None]:
    """What is known at each of ``lams`` of a path."""
    rows = read_table(layout.level_truth, LevelTruthRow)
    found: Mapping[tuple[float, str], LevelTruthRow] = {
        (row.lam, row.observable): row for row in rows if row.path == path
    }
    names = [observable.name for observable in measured.observables]
    return [
        (
            torch.tensor([found[lam, name].value for name in names], dtype=torch.float64),
            torch.tensor([found[lam, name].variance for name in names], dtype=torch.float64),
        )
        if names and all((lam, name) in found for name in names)
        else None
        for lam in lams
    ]
