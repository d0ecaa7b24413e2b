"""The ensembles of the last level, for the figures that show them point by point or by weights."""

from __future__ import annotations

from collections.abc import Mapping

from jeffreysflow.config import Experiment
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.report.data import WeightedSamples
from jeffreysflow.report.figures import noisy_scatter, poisson_marginal
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout

__all__ = ["read_last_ensembles"]


def read_last_ensembles(layout: Layout, experiment: Experiment) -> Mapping[str, WeightedSamples]:
    """Those of all sequences, of the islands that estimate; none where no figure shows them.

    Raises
    ------
    UserError : a store is missing, foreign or damaged.
    """
    if not any(figure.applies(experiment) for figure in (noisy_scatter, poisson_marginal)):
        return {}
    found = {}
    for name, flow in experiment.flows.items():
        if flow.levels == "all":
            level = layout.flow(name).level(flow_steps(layout, experiment, name))
            hash = experiment.flow_hash(name)
            store = open_ensemble(level / "ensemble.zarr", "ensemble", hash)
            rows = store.estimating
            x, log_weights, *_ = store.samples().rows(rows)
            learned = {of: store.learned(of)[rows].numpy() for of in store.learned_names}
            found[name] = WeightedSamples(x[:, :2].numpy(), log_weights.numpy(), learned)
    return found
