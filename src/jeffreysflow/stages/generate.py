"""The stage `generate`: fresh base samples through all levels of a flow, with exact weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.extended import ExtendedTarget
from jeffreysflow.distillation.generating import importance_batches
from jeffreysflow.distillation.sampler import (
    Island,
    metropolis_island,
    smc_island,
    temperatures,
)
from jeffreysflow.estimation.pareto import facts_of_weights
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.launch.device import use_device
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_path_from_base, scales_of
from jeffreysflow.launch.weight_facts import weight_facts
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.ensembles import EnsembleWriter
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment, flow: str) -> None:
    """Generate ``experiment.generation.samples`` weighted samples; a few batches in memory at most.

    Raises
    ------
    UserError : a level of the flow is missing, foreign or damaged, or the energy of a sample is not
        a number.
    """
    started = time.time()
    section, hash = experiment.generation, experiment.generation_hash(flow)
    flow_hash, files = experiment.flow_hash(flow), layout.flow(flow)
    device = use_device(experiment.device, experiment.flow(flow).training.threads)
    path = build_path_from_base(experiment, flow, layout)
    assert path.base is not None
    flows = []
    for level in range(1, flow_steps(layout, experiment, flow) + 1):
        read_record(files.level(level) / "done.json", flow_hash)
        flows.append(load_flow(files.level(level) / "flow.safetensors", flow_hash).to(device))
    path.base.to(device)
    path.target.to(device)
    rows = min(each.rows_at_once for each in flows)
    batch = rows if section.batch == "auto" else section.batch
    passing = _Passing(f"generate {experiment.name}/{flow}")
    where = f"{experiment.name}/{flow}: generate"
    target = ExtendedTarget(flows, path, batch, where, passing.tell)
    sampling, scrambled = section.sampling, section.base_points == "sobol"
    sampled = sampling.kind != "importance"
    groups = {"scramblings": section.scramblings} if scrambled else {}
    if sampled:
        groups = {"islands": sampling.islands}
    writer = EnsembleWriter(
        files.generated / "store.zarr",
        "generated",
        hash,
        section.samples,
        path.domain.dimension,
        experiment=experiment.name,
        flow=flow,
        seed=experiment.seed,
        base_points=section.base_points,
        sampling=sampling.kind,
        **groups,
        **scales_of(experiment),
    )
    done, not_finite, already = 0, 0, path.evaluations
    facts: dict[str, Any] = {}
    made = (
        _islands(experiment, flow, target, facts, passing)
        if sampled
        else importance_batches(
            target,
            (z.to(device) for z in _base_points(experiment, flow, path, batch)),
            lambda tile: Stream(
                experiment.seed, experiment.name, flow, "generate", "directions", tile
            ),
        )
    )
    if not sampled:
        passing.begin(section.samples, "samples")
    for ensemble in made:
        writer.write(ensemble)
        done += len(ensemble.x)
        not_finite += int((ensemble.log_weights == -torch.inf).sum())
    passing.close()
    writer.close()
    evaluations, seconds = path.evaluations - already, time.time() - started
    facts |= weight_facts(experiment, flow, flows, target, done)
    write_record(
        files.generated / "done.json",
        "generate",
        hash,
        started,
        device=device.type,
        threads=torch.get_num_threads(),
        samples=done,
        weights_zero=not_finite,
        evaluations=evaluations,
        generating_seconds=seconds,
        **facts,
    )


class _Passing:
    """The progress of points through flows, from where it is known how many there will be."""

    def __init__(self, what: str) -> None:
        self._what, self._done = what, 0
        self._progress: Progress | None = None

    def say(self, line: str) -> None:
        print(f"{self._what}: {line}", flush=True)

    def begin(self, points: int, unit: str) -> None:
        self._progress = Progress(points, self._what, unit)

    def tell(self, points: int) -> None:
        if self._progress is not None:
            self._done += points
            self._progress.update(self._done)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None


def _islands(
    experiment: Experiment,
    flow: str,
    target: ExtendedTarget,
    facts: dict[str, Any],
    passing: _Passing,
) -> Iterator[Ensemble]:
    """The samples of one island after the other; what is to be known of all of them goes into
    ``facts``.
    """
    section = experiment.generation.sampling
    each = experiment.generation.samples // section.islands
    address = (experiment.seed, experiment.name, flow, "generate", section.kind)
    make: Callable[[Stream], Island]
    if section.kind == "smc":
        moves = section.moves, section.block
        passing.say(f"a pilot of {each:,} points finds the temperatures")
        betas = temperatures(target, each, section.cess, *moves, Stream(*address, "pilot"))
        facts["temperatures"] = len(betas)
        passing.say(f"{len(betas)} temperatures")
        make, moved = partial(smc_island, target, each, betas, *moves), len(betas) * section.moves
        passed = each * (1 + moved)
    else:
        sweeps = each // section.chains
        moved = section.burn_in + sweeps
        # as many as the chains choose their starts from, and as many moves
        passed = 2 * section.chains * moved
        make = partial(
            metropolis_island, target, section.chains, sweeps, section.burn_in, section.block
        )
    passing.begin(section.islands * passed, "points")
    acceptance, largest, began = [], [], []
    for number in range(section.islands):
        island = make(Stream(*address, "island", number))
        acceptance.append(island.acceptance)
        largest.append(island.largest)
        facts["acceptance"] = sum(acceptance) / len(acceptance)
        facts["accepted_moves"] = moved * facts["acceptance"]
        if island.began is not None:
            began.append(island.began)
        yield island.ensemble
    facts["largest_log_weight"] = max(largest)
    if began:
        facts["began"] = facts_of_weights(torch.cat(began))


def _base_points(
    experiment: Experiment, flow: str, path: AnnealingPath, batch: int
) -> Iterator[torch.Tensor]:
    section, base = experiment.generation, path.base
    assert base is not None
    address = (experiment.name, flow, "generate")
    if section.base_points == "iid":
        for number, start in enumerate(range(0, section.samples, batch)):
            n = min(batch, section.samples - start)
            yield base.sample(n, Stream(experiment.seed, *address, number))
    else:
        each = section.samples // section.scramblings
        for scrambling in range(section.scramblings):
            seed, rows = experiment.seed, min(batch, each)
            yield from sobol_base_points(base, each, rows, seed, *address, scrambling)
