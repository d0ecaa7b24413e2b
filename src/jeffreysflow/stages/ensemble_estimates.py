"""Estimates from the weighted ensemble of a sequence's last level, with errors from its islands."""

from __future__ import annotations

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined, jackknife_error
from jeffreysflow.stages.checked_samples import ROWS_AT_A_TIME, checked_slabs
from jeffreysflow.stages.estimate_table import EstimateTable
from jeffreysflow.stages.measured import Measured
from jeffreysflow.stores.ensembles import Ensembles, open_ensemble
from jeffreysflow.stores.layout import Layout

__all__ = ["add_ensemble", "island_errors", "island_sums"]

_FEWEST_ISLANDS = 3
"""An event that fewer islands have seen has no standard error: their spread cannot tell one."""


def add_ensemble(
    table: EstimateTable, layout: Layout, experiment: Experiment, flow: str, measured: Measured
) -> None:
    """Add what the ensemble at the level of ``table`` estimates.

    Its samples are correlated: resampling copies them. Islands, which are resampled each by itself,
    are independent given the flows, so leaving out one at a time gives errors; a single island
    gives none.

    Raises
    ------
    UserError : the ensemble is missing, foreign, incomplete or damaged.
    """
    store = layout.flow(flow).level(table.level) / "ensemble.zarr"
    islands = island_sums(open_ensemble(store, "ensemble", experiment.flow_hash(flow)), measured)
    whole = combined(islands)

    values = _functional(whole)
    errors = island_errors(islands, len(measured.observables))
    table.add("ess_after_resampling", float(values[-2]), float(errors[-2]))
    table.add("log_z", float(values[-1]), float(errors[-1]))
    table.add_measured(measured, values[:-2], errors[:-2], whole.n)


def island_errors(islands: list[WeightedSums], observables: int) -> torch.Tensor:
    """Jackknife errors of all means, ESS and log Z; NaN from a single island, and for any of the
    first ``observables`` that is zero on all but one or two of them.
    """
    if len(islands) == 1:
        return torch.full_like(_functional(islands[0]), torch.nan)
    errors = jackknife_error(islands, _functional)
    seen = torch.stack([island.means[:observables] != 0 for island in islands]).sum(dim=0)
    errors[:observables][seen < _FEWEST_ISLANDS] = torch.nan
    return errors


def _functional(part: WeightedSums) -> torch.Tensor:
    return torch.cat([part.means, part.means.new_tensor([part.ess, part.log_z])])


def island_sums(store: Ensembles, measured: Measured) -> list[WeightedSums]:
    """The sums over each island of an ensemble that no flow was trained on or chosen by; over all
    of it where it does not tell islands.

    Raises
    ------
    UserError : the ensemble cannot be cut into its islands.
    """
    islands, n = int(store.attributes.get("islands", 1)), len(store)
    if islands < 1 or n % islands:
        raise UserError(f"{store.path}: {n} samples cannot be {islands} equal islands")
    each, sums = n // islands, []
    for island in store.attributes.get("estimate_islands", range(islands)):
        slabs = checked_slabs(store, ROWS_AT_A_TIME, island * each, (island + 1) * each)
        parts = [WeightedSums.of(log_weights, measured.values(x, U)) for x, log_weights, U in slabs]
        sums.append(combined(parts))
    return sums
