"""How much memory a stage needs, from the sizes in an experiment: what its rule asks for.

A process begins with 300 to 480 MiB of libraries; what comes on top grows with samples, coordinates
and batches. The factors are fitted to measured peaks (a test holds them to it) and then raised by a
half. What an energy itself takes for a batch is not known here, and of a user's velocity neither
its parameters nor what a single sample takes beyond 200 MB: files are not run for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from jeffreysflow.config.dimension import likely_dimension
from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.integration import ContinuousNetwork, OwnVelocity
from jeffreysflow.config.network import SplineNetwork
from jeffreysflow.config.reference import ReferenceConfig, SuggestedLadder
from jeffreysflow.config.samples_reference import SamplesConfig
from jeffreysflow.flows.sizes import (
    MOST_NUMBERS,
    pair_numbers,
    rows_at_once,
    spline_numbers,
    velocity_numbers,
)

__all__ = ["memory_mb", "needed_mb"]

_MARGIN = 1.5
_BASE = {"figures": 480, "report": 400}
_BASE_OF_OTHERS = 370
_BASE_OF_A_WORKER = 300
_EVALUATING = ("pilot", "temper", "gather", "base", "distill", "generate", "truth", "estimate")
_MB = 1 << 20
_TILE_ROWS = 8192
_LARGEST_SHOWN = 400_000
_ROWS_AT_A_TIME = 1 << 16
_GRID = 1024
_EXACT_SAMPLES = 20_000
_COPIES_OF_WEIGHTS = 8
_SAMPLES_OF_EXCESS = 256
_MOST_MEMBERS = 1 << 24
"""Of mini-batches, at a time."""


def memory_mb(experiment: Experiment, stage: str, source: str = "", ranks: int = 1) -> int:
    """MiB that ``stage`` (`pilot`, `temper`, `gather`, `base`, `distill`, `generate`, `truth`,
    `beads`, `estimate`, `figures` or `report`) may need for a reference or flow, all ranks
    together; in steps of 100.

    Raises
    ------
    UserError : no such reference or flow.
    """
    return 100 * math.ceil(_MARGIN * needed_mb(experiment, stage, source, ranks) / 100)


def needed_mb(experiment: Experiment, stage: str, source: str = "", ranks: int = 1) -> float:
    """What ``memory_mb`` raises by a half: MiB, as measured.

    Raises
    ------
    UserError : no such reference or flow.
    """
    processes = experiment.flow(source).training.processes if stage == "distill" else 1
    base = ranks * processes * _BASE.get(stage, _BASE_OF_OTHERS)
    if experiment.potential.workers > 1 and stage in _EVALUATING:
        base += ranks * processes * experiment.potential.workers * _BASE_OF_A_WORKER
    d = likely_dimension(experiment)
    return base + 8 * max(_numbers(each, stage, source, d) for each in _parts(experiment)) / _MB


def _parts(experiment: Experiment) -> list[Experiment]:
    """As many as a flow has kinds of levels, with one of them each."""
    flows = experiment.flows.items()
    return [
        experiment.model_copy(update={"flows": {name: flow.parts[k] for name, flow in flows}})
        for k in ((0, -1) if any(flow.last_level for _, flow in flows) else (0,))
    ]


def _numbers(experiment: Experiment, stage: str, source: str, d: int) -> float:
    """Float64 numbers in memory at the same time, beside the libraries."""
    generation, measured = experiment.generation, _measured(experiment)
    if stage in ("pilot", "temper", "gather"):
        reference = experiment.reference(source)
        if isinstance(reference, SamplesConfig):
            # a level as it is in its files, as it is kept, and what its coordinates remember
            return reference.samples * (10 * (d + 2) + 22)
        return _of_reference(reference, stage, d)
    if stage == "base":
        name = experiment.base_reference or next(iter(experiment.references))
        covariances = experiment.base.components * 4 * d**2
        samples = experiment.reference(name).samples
        fitted = min(samples, 60_000) * (13 * d + 1000)
        return samples * 4 * (d + 2) + fitted + covariances
    if stage == "distill":
        return _of_training(experiment, source, d)
    if stage == "generate":
        flow = experiment.flow(source)
        batch = _rows_pushed(flow, d) if generation.batch == "auto" else generation.batch
        pushed = 6 * batch * (d + 3) + _of_push(flow, batch, d)
        if generation.sampling.kind != "importance":
            # an island with its random numbers, and where a move would take it
            each = generation.samples // generation.sampling.islands
            pushed += 4 * each * (d + 3 + _normals(flow, d))
        # two sets of random numbers of some samples tell what variance they add
        pushed += 2 * _SAMPLES_OF_EXCESS * _normals(flow, d)
        return pushed + 2 * (_of_weights(flow, d) + _of_learnt(flow, d))
    if stage == "beads":
        group = generation.group or generation.samples / 32
        return 4 * group * (d + 3) + 100 * _ROWS_AT_A_TIME
    if stage == "truth":
        return _of_truth(experiment, d)
    if stage == "estimate":
        if source in experiment.references:
            return experiment.reference(source).samples * (2 * (d + 3) + 4 * measured)
        batch = 0 if generation.batch == "auto" else generation.batch
        block = max(batch, _ROWS_AT_A_TIME)
        return block * (3 * (d + 3) + 6 * measured) + _of_exact_samples(experiment, source, d)
    if stage == "figures":
        references = sum(reference.samples for reference in experiment.references.values())
        shown = min(generation.samples, _LARGEST_SHOWN)
        return 3 * references * 2 + 5 * shown * len(experiment.flows) + 3 * shown * (d + 3)
    return 0.0


def _of_reference(reference: ReferenceConfig, stage: str, d: int) -> float:
    walkers = reference.walkers
    if stage == "pilot" and isinstance(reference.ladder, SuggestedLadder):
        walkers = reference.ladder.pilot_walkers
    rows = walkers * reference.most_levels
    if stage != "gather":
        # states, a chunk of draws of every tile, and what moves one tile
        tile = min(rows, _TILE_ROWS)
        batches = _of_batches(reference.kernel.parameters, reference.local_steps * tile)
        # in warm-up energies of swaps are estimated twice
        batches += _of_batches({"batch": reference.swap_rule.parameters.get("size")}, 2 * tile)
        return rows * (6 * d + 8) + 40 * tile * (d + 2) + batches
    # a chunk of draws is demultiplexed; then one level at a time is looked at
    chunk = max(rows, _MB // (8 * d) * math.ceil(rows / _TILE_ROWS)) * (d + 3)
    return 4 * chunk + reference.samples * (7 * (d + 2) + 22)


def _of_batches(parameters: Mapping[str, Any], draws: int) -> float:
    """Terms that a kernel of these parameters sees in so many draws, and a copy of them."""
    size = parameters.get("batch")
    return 2.0 * draws * size if type(size) is int else 0.0


def _of_training(experiment: Experiment, name: str, d: int) -> float:
    flow = experiment.flow(name)
    below = experiment.references.get(flow.reference)
    samples = below.samples if below is not None else experiment.flow(flow.reference).ensemble
    samples *= 2 if flow.training.source == "reference" else 1
    size = 0.5 if flow.training.precision == "float32" else 1.0
    # both passes keep what their gradients need, in every layer
    step = 2 * size * flow.training.batch * _layers(flow, d) * _of_layer(flow, d)
    moves = flow.rejuvenation_steps * flow.ensemble if flow.levels == "all" else 0
    # of what is pushed and moved the first process has all, of what is trained on each
    others = flow.training.processes - 1
    return (
        others * (2 * size * samples * d + _COPIES_OF_WEIGHTS * _of_weights(flow, d))
        + 5 * samples * d
        + 6 * flow.ensemble * (d + 3)
        + step
        + _COPIES_OF_WEIGHTS * _of_weights(flow, d)
        + 2 * _of_learnt(flow, d)
        + min(_of_batches(flow.rejuvenation_parameters, moves), 2 * _MOST_MEMBERS)
        + _of_push(flow, min(flow.ensemble, _rows_pushed(flow, d)), d)
    )


def _of_weights(flow: FlowConfig, d: int) -> float:
    """Parameters of all layers: hidden layers, and the spline of half the coordinates; or of a
    velocity.
    """
    if isinstance(flow.network, ContinuousNetwork | OwnVelocity):
        if _looks_at_pairs(flow.network):
            hidden, layers = (_setting(flow.network, key) for key in ("hidden", "layers"))
            return 5.0 * layers * hidden**2
        hidden, features = _of_velocity(flow.network, d)
        return (d + features) * (2.0 * hidden + features)
    network = _spline(flow)
    knots = 3 * math.ceil(d / 2) * network.bins
    between = network.hidden * (len(network.hidden_layers) - 1)
    return network.layers_of(d) * float(network.hidden) * (d + between + knots)


def _of_push(flow: FlowConfig, rows: int, d: int) -> float:
    """One layer at a time, without gradients; a user's velocity sees as many rows as fit."""
    pushed = rows * _of_layer(flow, d)
    return max(pushed, MOST_NUMBERS) if isinstance(flow.network, OwnVelocity) else pushed


def _normals(flow: FlowConfig, d: int) -> int:
    """Random numbers of the weight of a sample."""
    if not isinstance(flow.network, ContinuousNetwork | OwnVelocity):
        return 0
    jacobian = flow.network.jacobian
    if jacobian.kind == "brute_force":
        return 0
    m = 2 if jacobian.parameters.get("corrected") else jacobian.parameters.get("directions", 1)
    return flow.network.steps * d * (m if isinstance(m, int) else 1)


def _of_layer(flow: FlowConfig, d: int) -> int:
    """Numbers a row in one coupling: hidden layers, and the spline of half the coordinates; or
    along a velocity.
    """
    if isinstance(flow.network, ContinuousNetwork | OwnVelocity):
        brute_force = flow.network.jacobian.kind == "brute_force"
        taken = 3 * d**2 if brute_force else _normals(flow, d)
        if _looks_at_pairs(flow.network):
            hidden, space = (_setting(flow.network, key) for key in ("hidden", "dimension"))
            return pair_numbers(max(d // space, 1), hidden) + taken
        return velocity_numbers(d, *_of_velocity(flow.network, d), taken)
    network = _spline(flow)
    return spline_numbers(d, network.hidden_layers, network.bins)


def _of_learnt(flow: FlowConfig, d: int) -> float:
    """Matrices that the weights of a velocity have learnt."""
    if not isinstance(flow.network, ContinuousNetwork | OwnVelocity):
        return 0.0
    clusters = flow.network.jacobian.parameters.get("clusters", 0)
    return flow.network.steps * (clusters if isinstance(clusters, int) else 0) * float(d) ** 2


def _layers(flow: FlowConfig, d: int) -> int:
    of_velocity = isinstance(flow.network, ContinuousNetwork | OwnVelocity)
    return 1 if of_velocity else _spline(flow).layers_of(d)


def _looks_at_pairs(
    network: ContinuousNetwork | OwnVelocity,
) -> TypeGuard[ContinuousNetwork]:
    return isinstance(network, ContinuousNetwork) and network.velocity == "particles"


def _setting(network: ContinuousNetwork, key: str) -> int:
    """Of `particles`; its own is used where this is no positive integer."""
    usual = {"hidden": 32, "layers": 3, "dimension": 3}[key]
    value = network.parameters.get(key, usual)
    return value if type(value) is int and value > 0 else usual


def _of_velocity(network: ContinuousNetwork | OwnVelocity, d: int) -> tuple[int, int]:
    """Width and features of its network, by default those of `gated`."""
    if isinstance(network, OwnVelocity):
        return 128, 2 * d
    found = network.parameters.get("hidden", 128), network.parameters.get("features") or 2 * d
    hidden, features = (value if type(value) is int else 128 for value in found)
    return hidden, features


def _rows_pushed(flow: FlowConfig, d: int) -> int:
    return rows_at_once(_of_layer(flow, d))


def _spline(flow: FlowConfig) -> SplineNetwork:
    """The network, or, of a kind whose needs are not known here, the usual one."""
    return flow.network if isinstance(flow.network, SplineNetwork) else SplineNetwork()


def _of_truth(experiment: Experiment, d: int) -> float:
    truth = experiment.truth
    if truth is None:
        return 0.0
    if experiment.path_integral is not None:
        return 20.0 * truth.points**2
    if truth.method == "quadrature":
        return float(truth.points ** min(d, 2) * (2 * d + 6))
    return 0.0


def _of_exact_samples(experiment: Experiment, flow: str, d: int) -> float:
    """Exact samples from a grid of 1024 points a coordinate or more, pulled back through a flow."""
    truth = experiment.truth
    if truth is None or experiment.path_integral is not None:
        return _of_pulling(experiment.flow(flow), d)
    grid = 0.0
    if truth.method == "quadrature":
        grid = float(max(truth.points, _GRID) ** min(d, 2) * (2 * d + 6))
    return grid + _of_pulling(experiment.flow(flow), d)


def _of_pulling(flow: FlowConfig, d: int) -> float:
    """The maps of a flow, and some samples on their way back."""
    rows = min(_EXACT_SAMPLES, _rows_pushed(flow, d))
    return _of_push(flow, rows, d) + _of_weights(flow, d) + _of_learnt(flow, d)


def _measured(experiment: Experiment) -> int:
    """Observables and bins of profiles."""
    single = len(experiment.observables) + len(experiment.regions)
    return single + sum(profile.bins for profile in experiment.profiles)
