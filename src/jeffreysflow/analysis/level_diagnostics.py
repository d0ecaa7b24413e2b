"""What the samples of all levels say of themselves: how long they remember, and log Z."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.pareto import PARETO_LIMIT, pareto_k
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.stores.levels import Samples
from jeffreysflow.stores.tables import DiagnosticRow
from jeffreysflow.tempering.diagnostics import level_series, series_diagnostics
from jeffreysflow.tempering.evidence import (
    LogRatio,
    bennett,
    chained,
    stepping_backward,
    stepping_forward,
)

__all__ = ["Evidence", "level_rows"]


def level_rows(k: int, lam: float, samples: Samples, domain: Domain) -> list[DiagnosticRow]:
    """Autocorrelation, ESS and R-hat of the energy and every coordinate at level ``k``."""
    x, U_0, V = samples
    return [
        DiagnosticRow("level", k, lam, series, quantity, value)
        for series, values in level_series(x, interpolated(U_0, V, lam), domain).items()
        for quantity, value in series_diagnostics(values)._asdict().items()
    ]


class Evidence:
    """log Z ratios of neighbours by three estimators, level after level; on the annealed path also
    log Z of the target.
    """

    def __init__(self, annealed: bool) -> None:
        self.notes: list[str] = []
        self._annealed, self._trusted = annealed, True
        self._rows: list[DiagnosticRow] = []
        self._terms: dict[str, list[LogRatio]] = {
            "log_z": [],
            "log_z_forward": [],
            "log_z_backward": [],
        }
        self._below: tuple[float, torch.Tensor] | None = None

    def add(self, k: int, lam: float, V: torch.Tensor) -> None:
        """The next level, from its ``V`` [draw, walker]."""
        if self._below is not None:
            self._add_pair(k, lam, lam - self._below[0], self._below[1], V)
        self._below = lam, V

    def _add_pair(
        self, k: int, lam: float, step: float, lower: torch.Tensor, upper: torch.Tensor
    ) -> None:
        tail = {
            "pareto_k_forward": pareto_k(-step * lower.flatten()),
            "pareto_k_backward": pareto_k(step * upper.flatten()),
        }
        ratios = {
            "log_z": bennett(lower, upper, step),
            "log_z_forward": stepping_forward(lower, step),
            "log_z_backward": stepping_backward(upper, step),
        }
        for quantity, ratio in ratios.items():
            self._terms[quantity].append(ratio)
            row = (f"{quantity}_ratio", ratio.value, ratio.error, ratio.dof)
            self._rows.append(DiagnosticRow("pair", k, lam, "", *row))
        for quantity, value in tail.items():
            self._rows.append(DiagnosticRow("pair", k, lam, "", quantity, value))
        if self._annealed and k == 1 and tail["pareto_k_backward"] > PARETO_LIMIT:
            self._trusted = False
            self.notes.append(
                f"the backward stepping stone from level 1 has Pareto k "
                f"{tail['pareto_k_backward']:.2f} > {PARETO_LIMIT}: no backward log Z"
            )

    def all_rows(self) -> list[DiagnosticRow]:
        """Those of all pairs, and of the whole ladder."""
        rows = list(self._rows)
        if self._annealed and self._terms["log_z"]:
            for quantity, chain in self._terms.items():
                if quantity != "log_z_backward" or self._trusted:
                    total = chained(chain)
                    row = (quantity, total.value, total.error, total.dof)
                    rows.append(DiagnosticRow("run", None, None, "", *row))
        return rows
