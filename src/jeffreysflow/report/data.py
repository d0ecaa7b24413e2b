"""What figures and tables are made from: rows and arrays of one experiment, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from jeffreysflow.config import Experiment
from jeffreysflow.stores.tables import (
    BeadRow,
    BeadTruthRow,
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    TemperatureRow,
)

__all__ = [
    "Curve",
    "Density",
    "ExperimentData",
    "Plane",
    "Results",
    "Samples",
    "SourceField",
    "WeightedSamples",
    "fixed_theta",
    "view_limits",
]

Interval = tuple[float, float]

_ALSO_ON_THE_WAY = ("bias", "noise_floor")


@dataclass(frozen=True)
class Results:
    """The tables of one experiment.

    ``estimates`` by source (a flow, or ``reference:<name>``), ``diagnostics`` by reference,
    ``convergence`` and ``beads`` by flow, the latter for a path integral alone, with its
    ``bead_truth``.
    """

    experiment: Experiment
    estimates: Mapping[str, Sequence[EstimateRow]] = field(default_factory=dict)
    diagnostics: Mapping[str, Sequence[DiagnosticRow]] = field(default_factory=dict)
    convergence: Mapping[str, Sequence[ConvergenceRow]] = field(default_factory=dict)
    beads: Mapping[str, Sequence[BeadRow]] = field(default_factory=dict)
    bead_truth: Sequence[BeadTruthRow] = ()

    def estimate(self, source: str, quantity: str) -> EstimateRow | None:
        """A quantity at the last level it is known for; one that is also told of levels on the
        way, of the last level that anything is known for.
        """
        of = self.estimates.get(source, ())
        rows = [row for row in of if row.quantity == quantity]
        if rows and quantity in _ALSO_ON_THE_WAY and rows[-1].level < max(row.level for row in of):
            return None
        return rows[-1] if rows else None

    def value(self, source: str, quantity: str, column: str = "value") -> float:
        """A number of that row; NaN where there is none."""
        row = self.estimate(source, quantity)
        number = None if row is None else getattr(row, column)
        return math.nan if number is None else number

    def is_trusted(self, source: str) -> bool:
        """Whether nothing grave is known that speaks against a source."""
        return self.value(source, "trusted") != 0.0

    def has_exact_moves(self, flow: str) -> bool:
        """Whether no biased kernel moved the ensembles of a flow, whose weights are exact only
        then.
        """
        return self.value(f"ensemble:{flow}", "exact_moves") != 0.0

    def bias_mark(self, source: str) -> str:
        """What stands behind the name of a flow, or of its ensemble, whose weights are biased."""
        those = (source, f"ensemble:{source}")
        biased = any(self.value(of, "unbiased_weights") == 0.0 for of in those)
        return ", biased weights" if biased else ""

    def weights_text(self, flow: str) -> str:
        """What the weights of a flow's ensembles by the whole energy are called."""
        if self.bias_mark(flow):
            return "biased weights"
        exact = self.has_exact_moves(flow)
        return "exact weights" if exact else "weights of the full sum, biased moves"

    def total(self, source: str, quantity: str) -> float:
        """A quantity summed over all levels; NaN where there is none."""
        rows = [row.value for row in self.estimates.get(source, ()) if row.quantity == quantity]
        return math.fsum(rows) if rows else math.nan

    def diagnostic(
        self, reference: str, scope: str, quantity: str, series: str = ""
    ) -> list[float]:
        """A quantity at all levels or pairs, in order; or the one number of a run in a list."""
        return [
            row.value
            for row in self.diagnostics.get(reference, ())
            if (row.scope, row.quantity, row.series) == (scope, quantity, series)
        ]

    def by_level(self, source: str, quantity: str, column: str = "value") -> np.ndarray:
        """A quantity at levels 1, 2, ... [K], up to the last the source tells anything of."""
        rows = self.estimates.get(source, ())
        values = np.full(max((row.level for row in rows), default=0), np.nan)
        for row in rows:
            if row.quantity == quantity and row.level > 0:
                number = getattr(row, column)
                values[row.level - 1] = math.nan if number is None else number
        return values

    def ladder(self, reference: str) -> list[float]:
        """lambda of each level, from 0 on; empty before the reference was tempered."""
        rows = self.diagnostics.get(reference, ())
        levels = {
            row.level: row.lam for row in rows if row.scope == "level" and row.lam is not None
        }
        return list(levels.values())

    def flow_steps(self, flow: str) -> int:
        """Over how many levels a flow was distilled, as its own table tells."""
        return max((row.level for row in self.estimates.get(flow, ())), default=1)

    def flows_of(self, reference: str) -> list[str]:
        """The flows trained from a reference, by theta; those that choose it themselves last.

        Those trained from a flow of that reference come after it, pass by pass.
        """
        flows = self.experiment.flows
        names = [name for name in flows if self.experiment.tempered(name) == reference]
        return sorted(names, key=lambda name: (self._passes(name), _order(flows[name].theta), name))

    def _passes(self, flow: str) -> int:
        found = self.experiment.flows[flow].reference
        return 0 if found in self.experiment.references else 1 + self._passes(found)

    def origin(self, flow: str) -> str:
        """What a flow was trained from, in words, and a mark where its weights are biased."""
        found = self.experiment.flows[flow].reference
        kind = "reference" if found in self.experiment.references else "the ensembles of"
        return f"on {kind} {found}{self.bias_mark(flow)}"

    def sequences(self) -> list[str]:
        """The flows that follow a ladder level by level, reference by reference."""
        names = chain.from_iterable(map(self.flows_of, self.experiment.references))
        return [name for name in names if self.experiment.flows[name].levels == "all"]

    def label(self, flow: str) -> str:
        """Its theta; or its name where it chooses theta itself, or shares it with another flow of
        its reference; and a mark where its weights are biased.
        """
        flows = self.experiment.flows
        theta = fixed_theta(flows[flow].theta)
        family = self.flows_of(self.experiment.tempered(flow))
        others = [fixed_theta(flows[other].theta) for other in family]
        shared = others.count(theta) > 1
        named = flow if shared or theta is None else f"θ = {theta:g}"
        return named + self.bias_mark(flow)


@dataclass(frozen=True)
class Samples:
    """Samples ``x`` [n, d]; those of a flow with their natural log weights [n]."""

    x: np.ndarray
    log_weights: np.ndarray


class WeightedSamples(NamedTuple):
    """The ensemble of a sequence's last level: the first two coordinates ``x`` [n, 2], exact log
    weights [n], and the learned ones by name.
    """

    x: np.ndarray
    log_weights: np.ndarray
    learned: Mapping[str, np.ndarray]


class SourceField(NamedTuple):
    """What ``sources`` [k, 2] on the unit square give: the right-hand side ``source`` and the
    ``solution`` on its nodes [m, m] by x1 and x2, and where the ``sensors`` [s, 2] are.
    """

    source: np.ndarray
    solution: np.ndarray
    sensors: np.ndarray
    sources: np.ndarray


@dataclass(frozen=True)
class Density:
    """The normalised density of the target on a grid in one or two dimensions.

    ``axes`` hold the nodes of each coordinate, ``values`` [len(axes[0]), ...] the density.
    """

    axes: Sequence[np.ndarray]
    values: np.ndarray


class Plane(NamedTuple):
    """Where samples lie in the plane of two expressions, the ``view``.

    ``source`` is `exact`, `reference:<name>`, `ensemble:<flow>` or `generated:<flow>`; ``lam`` is
    that of its level, None for the last; ``density`` [bins, bins] covers ``extent``.
    """

    view: tuple[str, str]
    source: str
    lam: float | None
    density: np.ndarray
    extent: tuple[Interval, Interval]


class Curve(NamedTuple):
    """A profile: a density, or a potential of mean force in kT.

    ``source`` is `reference:<name>`, `ensemble:<flow>` or `generated:<flow>`; ``edges`` [bins + 1],
    the others [bins]: ``error`` of ``value``, ``exact`` (NaN where unknown), and ``z``, the
    deviation of the bin's probability from the exact one in standard errors.
    """

    profile: str
    source: str
    edges: np.ndarray
    value: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    z: np.ndarray


@dataclass(frozen=True)
class ExperimentData(Results):
    """The tables of one experiment, and what else its figures show.

    ``history`` by flow and level: columns by name; ``references`` the samples of the last level,
    ``flows`` the generated ones; ``limits`` the interval of each coordinate that is worth showing;
    ``planes`` show samples in the plane of each view, ``curves`` the profiles of each source;
    ``temperatures`` by reference what its levels say together of others.
    ``ensembles`` and ``field`` are there where a figure shows them.
    """

    history: Mapping[str, Sequence[Mapping[str, np.ndarray]]] = field(default_factory=dict)
    references: Mapping[str, Samples] = field(default_factory=dict)
    flows: Mapping[str, Samples] = field(default_factory=dict)
    density: Density | None = None
    limits: Sequence[Interval] = ()
    planes: Sequence[Plane] = ()
    curves: Sequence[Curve] = ()
    temperatures: Mapping[str, Sequence[TemperatureRow]] = field(default_factory=dict)
    ensembles: Mapping[str, WeightedSamples] = field(default_factory=dict)
    field: SourceField | None = None


def view_limits(
    x: np.ndarray, intervals: Sequence[Interval | None], density: Density | None
) -> list[Interval]:
    """The interval of each coordinate that holds nearly all of the mass, with a margin.

    A period, or all there is between walls, where there is one; else where the exact marginal
    density, or the samples ``x`` [n, d], leave 1e-4 outside on either side.
    """
    limits = []
    for i, interval in enumerate(intervals):
        if interval is not None:
            limits.append(interval)
            continue
        if density is None:
            low, high = np.nanquantile(x[:, i], [1e-4, 1 - 1e-4])
        else:
            others = tuple(j for j in range(density.values.ndim) if j != i)
            mass = density.values.sum(axis=others).cumsum()
            low, high = np.interp([1e-4, 1 - 1e-4], mass / mass[-1], density.axes[i])
        margin = 0.12 * (high - low) or 1.0
        limits.append((float(low - margin), float(high + margin)))
    return limits


def fixed_theta(theta: float | str) -> float | None:
    """A theta that was given; None where each level chooses its own."""
    return None if isinstance(theta, str) else theta


def _order(theta: float | str) -> float:
    return math.inf if isinstance(theta, str) else theta
