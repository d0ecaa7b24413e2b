"""The stage `pilot`: how many levels a reference needs, and where they begin."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace

from jeffreysflow.config import Experiment
from jeffreysflow.config.reference import SuggestedLadder
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.mpi import on_rank_0, sole_launch
from jeffreysflow.launch.rank_device import check_reference_device, device_of_rank
from jeffreysflow.launch.target import build_tempering
from jeffreysflow.progress import Progress
from jeffreysflow.stages.temper import tempering_settings
from jeffreysflow.stores.completion import is_complete, write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.communicator import Communicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.ladder import (
    adapted_ladder,
    barrier_and_error,
    starting_ladder,
    suggested_levels,
)
from jeffreysflow.tempering.swap_rule import get_swap_rule

__all__ = ["run"]


def run(
    layout: Layout,
    experiment: Experiment,
    reference: str,
    *,
    expect_ranks: int | None = None,
    communicator: Communicator | None = None,
) -> None:
    """Temper briefly on a generous ladder and write `ladder.json`: the suggested lambda values.

    Short, so a run that was stopped begins again; the same numbers for any number of ranks.

    Raises
    ------
    UserError : a wrong number of ranks, a reference that needs no pilot, a bad energy.
    """
    started = time.time()
    ladder = experiment.tempering(reference).ladder
    if not isinstance(ladder, SuggestedLadder):
        raise UserError(
            f"{experiment.name}/{reference}: only a ladder of kind 'suggested' has a pilot, "
            f"this one is '{ladder.kind}'"
        )
    folder = layout.reference(reference).folder
    with sole_launch(folder, expect_ranks, communicator) as ranks:
        _pilot(layout, experiment, reference, ladder, ranks, started)


def _pilot(
    layout: Layout,
    experiment: Experiment,
    reference: str,
    section: SuggestedLadder,
    ranks: Communicator,
    started: float,
) -> None:
    hash, file = experiment.pilot_hash(reference), layout.reference(reference).ladder
    if on_rank_0(ranks, lambda: is_complete(file, hash)):
        return
    on_rank_0(ranks, lambda: check_reference_device(experiment, reference))
    on_rank_0(ranks, lambda: check_experiment(experiment))
    device = device_of_rank(experiment, reference, ranks)
    path, start = build_tempering(experiment, reference, device)
    rounds, tempered = section.pilot_rounds, experiment.tempering(reference)
    settings = replace(
        tempering_settings(experiment, reference, starting_ladder(section.max_levels)),
        walkers=section.pilot_walkers,
        warmup_rounds=rounds // 2,
        rounds=rounds - rounds // 2,
        thin=rounds - rounds // 2,
        address=(experiment.name, reference, "pilot"),
    )
    kernel, rule = tempered.kernel, tempered.swap_rule
    engine = Engine(
        path,
        start,
        get_kernel(kernel.name, **kernel.parameters),
        settings,
        ranks,
        get_swap_rule(rule.name, **rule.parameters),
    )
    what = f"pilot {experiment.name}/{reference}"
    progress = Progress(engine.rounds, what, "rounds", enabled=ranks.rank == 0)
    archive = MemoryArchive(settings, path.domain.dimension)
    statistics = engine.run(archive, progress=progress.update)
    progress.close()
    if ranks.rank > 0:
        return
    barrier, error = barrier_and_error(statistics.swap_acceptance)
    asked = suggested_levels(barrier, section.levels_per_barrier) - 1
    wanted = max(asked, math.ceil(1 / section.largest_step))
    intervals = min(wanted, section.max_levels)
    print(
        f"{experiment.name}/{reference}: barrier {barrier:.2f} +- {error:.2f}: {intervals} levels"
        + (f" (max_levels; {wanted} asked for)" if wanted > section.max_levels else ""),
        file=sys.stderr,
        flush=True,
    )
    suggested = adapted_ladder(
        statistics.ladder, statistics.rejection, intervals, section.largest_step
    )
    write_record(
        file,
        "pilot",
        hash,
        started,
        device=device.type,
        ranks=ranks.size,
        threads=1,
        ladder=list(suggested),
        levels=len(suggested),
        evaluations=int(statistics.evaluations.sum()),
        barrier=barrier,
        barrier_stderr=error if math.isfinite(error) else None,
    )
