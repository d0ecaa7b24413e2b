"""The forward divergence of a flow over exact samples, which no lost mode escapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from jeffreysflow.analysis.exact_values import is_held_by_its_box
from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.flows.directions import row_normals
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.flows.sizes import MOST_ROWS
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_path_from_base
from jeffreysflow.potentials import AnnealingPath, Potential
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples
from jeffreysflow.truth.sampling import GridSampler

__all__ = [
    "EXACT_SAMPLES",
    "ROWS_OF_VELOCITIES",
    "ExactDivergence",
    "exact_divergence",
    "pulled_back",
]

EXACT_SAMPLES = 20_000
ROWS_OF_VELOCITIES = 1000
"""So many samples are pulled back where maps are velocities, which are dear."""

_GRID = 1024
"""At least so many points a coordinate: a finer grid rejects fewer proposals."""


class ExactDivergence(NamedTuple):
    """``value`` with its standard ``error``, the log weights [n] of the exact samples, had the flow
    made them, and the ``shares`` [n] of the target that they stand for. The value is NaN where maps
    are velocities: their log weights may have something random.
    """

    value: float
    error: float
    log_weights: torch.Tensor
    shares: torch.Tensor


def exact_divergence(layout: Layout, experiment: Experiment, flow: str) -> ExactDivergence | None:
    """``D = log Z + KL(pi_M || F#pi_0)``, the upper bound of log Z, with its standard error.

    None where there are no exact values, their box or grid is none for exact samples, or a flow
    cannot pull samples back.

    Raises
    ------
    UserError : a level of the flow, or `truth.csv`, is missing, foreign or damaged.
    """
    if experiment.truth is None or experiment.path_integral is not None:
        return None
    if not is_held_by_its_box(layout, experiment):
        text = "truth.box or truth.points do not hold the density"
        print(f"{experiment.name}/{flow}: no exact samples for the Jeffreys gap: {text}")
        return None
    files, hash = layout.flow(flow), experiment.flow_hash(flow)
    steps = range(1, flow_steps(layout, experiment, flow) + 1)
    flows = [load_flow(files.level(level) / "flow.safetensors", hash) for level in steps]
    if not all(each.pulls for each in flows):
        return None
    invertible = all(each.invertible for each in flows)
    path = build_path_from_base(experiment, flow, layout)
    stream = Stream(experiment.seed, experiment.name, flow, "exact samples")
    try:
        n = EXACT_SAMPLES if invertible else ROWS_OF_VELOCITIES
        y, log_weights = _exact_samples(path.counted, experiment.truth, n, stream)
    except ValueError as error:
        print(f"{experiment.name}/{flow}: no exact samples for the Jeffreys gap: {error}")
        return None
    address = (experiment.seed, experiment.name, flow, "exact samples pulled back")
    made = pulled_back(flows, path, y, stream=lambda tile: Stream(*address, tile))
    shares = torch.softmax(log_weights, dim=0)
    if not invertible:
        return ExactDivergence(math.nan, math.nan, made, shares)
    sums = WeightedSums.of(log_weights, made[:, None])
    return ExactDivergence(float(sums.means), float(sums.errors), made, shares)


def _exact_samples(
    target: Potential, truth: TruthConfig, n: int, stream: Stream
) -> tuple[torch.Tensor, torch.Tensor]:
    """``n`` samples [n, d] with their log weights [n]; ValueError where a grid is too coarse."""
    if truth.method == "exact_map":
        return exact_samples(target, n, stream)
    y = GridSampler(target, truth.box, max(truth.points, _GRID)).sample(n, stream)
    return y, y.new_zeros(len(y))


@torch.no_grad()
def pulled_back(
    flows: Sequence[TransportMap],
    path: AnnealingPath,
    y: torch.Tensor,
    U: torch.Tensor | None = None,
    stream: Callable[[int], Stream] | None = None,
) -> torch.Tensor:
    """``U_base(F^-1 y) - U_M(y) - log|det dF^-1(y)|`` [n] of samples [n, d], F all flows in turn:
    the log weight that y has as a generated sample. ``U`` [n] is ``U_M(y)`` where it is known;
    where weights are random, ``stream`` is that of the numbers of each tile of rows.
    """
    assert path.base is not None
    rows = min((flow.rows_at_once for flow in flows), default=MOST_ROWS)
    U = path.counted.energy(y) if U is None else U
    each, parts, first = [flow.normals for flow in flows], [], 0
    for some, energy in zip(torch.split(y, rows), torch.split(U, rows), strict=True):
        z, log_dets = some, torch.zeros_like(some[:, 0])
        eps = row_normals(stream, first, len(some), sum(each), some.device)
        own = torch.split(eps, each, dim=1) if flows else ()
        for flow, normals in reversed(list(zip(flows, own, strict=True))):
            z, log_det = flow.pulled(z, normals)
            log_dets = log_dets + log_det
        parts.append(path.base.energy(z) - energy - log_dets)
        first += len(some)
    return torch.cat(parts)
