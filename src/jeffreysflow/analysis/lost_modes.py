"""Whether samples that a flow did not make lie where it draws next to nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch

from jeffreysflow.analysis.exact_divergence import ROWS_OF_VELOCITIES, pulled_back
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.spread_rows import spread_rows
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_path_from_base
from jeffreysflow.stores.ensembles import Ensembles
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Levels
from jeffreysflow.streams import Stream

__all__ = ["PulledBack", "beyond_the_largest", "moved_pulled_back", "reference_pulled_back"]

_ROWS = 20_000
_MARGIN = 1.0


class PulledBack(NamedTuple):
    """Log weights [n] of samples, had the flow made them; the ``log_shares`` [n] that they stand
    for, and their ``chains`` [n], walkers or islands, which are independent of each other.
    """

    log_weights: torch.Tensor
    log_shares: torch.Tensor
    chains: torch.Tensor


def beyond_the_largest(
    log_weights: torch.Tensor, largest: float, shares: torch.Tensor | None = None
) -> tuple[float, float]:
    """The share of the target, by samples [n] that stand for ``shares`` [n] of it (equal ones by
    default), whose log weight, had the flow made them, is larger by 1 than the ``largest`` of its
    own samples; and their effective number ``1 / sum shares^2``. Of a good flow's target samples
    hardly any is: the flow would have made some of them, or, where samples are moved, some would
    have been moved there. One of which no base sample is found, whose log weight is NaN, is of
    those: the flow never draws it.
    """
    n = len(log_weights)
    shares = torch.full((n,), 1 / n, dtype=torch.float64) if shares is None else shares.double()
    beyond = shares[~(log_weights <= largest + _MARGIN)]
    return float(beyond.sum()), float(1 / shares.square().sum())


def reference_pulled_back(
    layout: Layout, experiment: Experiment, flow: str, levels: Levels
) -> PulledBack | None:
    """Up to 20,000 samples (1,000 where maps are velocities), evenly spread, of a reference's last
    level, with the energies stored beside them where they are the target's; with random factors
    where weights have some, drawn afresh and not by their size as in weighted samples, so that if
    anything fewer samples lie beyond. None where a flow cannot pull samples back.

    Raises
    ------
    UserError : a level of the flow, or the store, is missing, foreign or damaged.
    """
    pulled = _Pulled(layout, experiment, flow)
    if not pulled.possible:
        return None
    samples = levels.samples(-1)
    rows = spread_rows(len(samples.x), pulled.most)
    y, U_0, V = (field[rows] for field in samples)
    U = None if experiment.is_classical(experiment.tempered(flow)) else U_0 + V
    log_weights = pulled.log_weights(y, U, "pulled back")
    return PulledBack(log_weights, torch.zeros_like(log_weights), rows % levels.walkers)


def moved_pulled_back(
    layout: Layout, experiment: Experiment, flow: str, moved: Ensembles, islands: int
) -> PulledBack | None:
    """The same of samples that islands of chains or of sequential Monte Carlo ``moved``. What they
    weighed when they were moved is another number: it went by the random factors that they had.

    Raises
    ------
    UserError : a level of the flow, or the store, is missing, foreign or damaged.
    """
    pulled = _Pulled(layout, experiment, flow)
    if not pulled.possible:
        return None
    rows = spread_rows(len(moved), pulled.most)
    samples = moved.rows(rows)
    log_weights = pulled.log_weights(samples.x, samples.U_0 + samples.V, "moved pulled back")
    return PulledBack(log_weights, samples.log_weights, rows * islands // len(moved))


class _Pulled:
    """The way back through all flows; ``most`` samples are worth it."""

    def __init__(self, layout: Layout, experiment: Experiment, flow: str) -> None:
        files, hash = layout.flow(flow), experiment.flow_hash(flow)
        steps = range(1, flow_steps(layout, experiment, flow) + 1)
        self._flows = [load_flow(files.level(k) / "flow.safetensors", hash) for k in steps]
        self._path = build_path_from_base(experiment, flow, layout)
        self._address = experiment.seed, experiment.name, flow
        self.possible = all(each.pulls for each in self._flows)
        exact = all(each.invertible for each in self._flows)
        self.most = _ROWS if exact else ROWS_OF_VELOCITIES

    def log_weights(self, y: torch.Tensor, U: torch.Tensor | None, what: str) -> torch.Tensor:
        address = (*self._address, what)
        return pulled_back(self._flows, self._path, y, U, lambda tile: Stream(*address, tile))
