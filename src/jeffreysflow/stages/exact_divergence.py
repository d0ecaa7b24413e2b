"""The forward divergence of a flow over exact samples, which no lost mode escapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.flows.flow import Flow
from jeffreysflow.potentials import AnnealingPath, Potential
from jeffreysflow.stages.steps import flow_steps
from jeffreysflow.stages.target import build_path
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples
from jeffreysflow.truth.sampling import GridSampler

__all__ = ["EXACT_SAMPLES", "exact_divergence", "pulled_back"]

EXACT_SAMPLES = 20_000

_GRID = 1024
"""At least so many points a coordinate: a finer grid rejects fewer proposals."""


def exact_divergence(
    layout: Layout, experiment: Experiment, flow: str
) -> tuple[float, float] | None:
    """``D = log Z + KL(pi_M || F#pi_0)``, the upper bound of log Z, with its standard error.

    None where exact values have no grid, or one too coarse for exact samples.

    Raises
    ------
    UserError : a level of the flow is missing, foreign or damaged.
    """
    if experiment.truth is None or experiment.path_integral is not None:
        return None
    files, hash = layout.flow(flow), experiment.flow_hash(flow)
    steps = range(1, flow_steps(layout, experiment, flow) + 1)
    flows = [load_flow(files.level(level) / "flow.safetensors", hash) for level in steps]
    path = build_path(experiment)
    stream = Stream(experiment.seed, experiment.name, flow, "exact samples")
    try:
        y, log_weights = _exact_samples(path.counted, experiment.truth, stream)
    except ValueError as error:
        print(f"{experiment.name}/{flow}: no exact samples for the Jeffreys gap: {error}")
        return None
    sums = WeightedSums.of(log_weights, pulled_back(flows, path, y)[:, None])
    return float(sums.means), float(sums.errors)


def _exact_samples(
    target: Potential, truth: TruthConfig, stream: Stream
) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [n, d] with their log weights [n]; ValueError where a grid is too coarse."""
    if truth.method == "exact_map":
        return exact_samples(target, EXACT_SAMPLES, stream)
    y = GridSampler(target, truth.box, max(truth.points, _GRID)).sample(EXACT_SAMPLES, stream)
    return y, y.new_zeros(len(y))


@torch.no_grad()
def pulled_back(flows: Sequence[Flow], path: AnnealingPath, y: torch.Tensor) -> torch.Tensor:
    """``U_base(F^-1 y) - U_M(y) - log|det dF^-1(y)|`` [n] of samples [n, d], F all flows in turn:
    the log weight that y has as a generated sample.
    """
    assert path.base is not None
    z, log_dets = y, torch.zeros_like(y[:, 0])
    for flow in reversed(flows):
        z, log_det = flow.inverse(z)
        log_dets = log_dets + log_det
    return path.base.energy(z) - path.counted.energy(y) - log_dets
