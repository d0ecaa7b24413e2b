"""The stage `temper`: run one reference's parallel tempering and keep its replicas."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.config.reference import (
    AdaptiveLadder,
    FixedLadder,
    GeometricLadder,
    TemperatureLadder,
)
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.ladder_notes import is_adaptive, ladder_notes
from jeffreysflow.launch.level_count import pilot_ladder
from jeffreysflow.launch.mpi import on_rank_0, sole_launch
from jeffreysflow.launch.rank_device import check_reference_device, device_of_rank
from jeffreysflow.launch.target import build_tempering
from jeffreysflow.processes import SignalledError, signals_kept
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import KEPT_RECORD, declare_done, write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.replicas import (
    Replicas,
    ReplicasArchive,
    found_hash,
    set_aside,
    verify_replicas,
)
from jeffreysflow.stores.sealed import DamagedError
from jeffreysflow.tempering.archive import Statistics
from jeffreysflow.tempering.communicator import Communicator
from jeffreysflow.tempering.engine import Engine, StoppedError
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.ladder import check_ladder, geometric_ladder, starting_ladder
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swap_rule import get_swap_rule

__all__ = ["run", "tempering_settings"]


def run(
    layout: Layout,
    experiment: Experiment,
    reference: str,
    *,
    expect_ranks: int | None = None,
    communicator: Communicator | None = None,
) -> None:
    """Temper a reference on all ranks of this launch, from its checkpoint if there is one.

    A complete store of this configuration is left as it is; one of another configuration is moved
    to `replicas.previous`. Launch with `python -m mpi4py -m jeffreysflow temper`, so that a rank
    that fails ends the others.

    Raises
    ------
    UserError : a wrong number of ranks, a bad energy or ladder, an energy that is not finite.
    SignalledError : SIGTERM or SIGUSR1 reached a rank; the checkpoint is saved.
    """
    started = time.time()
    experiment.tempering(reference)
    folder = layout.reference(reference).folder
    with sole_launch(folder, expect_ranks, communicator) as ranks:
        _temper(layout, experiment, reference, ranks, started)


def _temper(
    layout: Layout, experiment: Experiment, reference: str, ranks: Communicator, started: float
) -> None:
    section, hash = experiment.tempering(reference), experiment.reference_hash(reference)
    folder = layout.reference(reference).replicas
    if on_rank_0(ranks, lambda: _is_there(experiment, reference, folder, hash, started)):
        return
    device = device_of_rank(experiment, reference, ranks)
    path, start = build_tempering(experiment, reference, device)
    settings = tempering_settings(experiment, reference, _ladder(layout, experiment, reference))
    archive = ReplicasArchive(
        folder,
        settings,
        path.domain.dimension,
        hash,
        {
            "experiment": experiment.name,
            "reference": reference,
            "seed": experiment.seed,
            "path_kind": section.path,
            "kernel": section.kernel.name,
            "local_steps": section.local_steps,
            "thin": section.thin,
            "swap": section.swap,
            "swap_rule": section.swap_rule.name,
        },
        ranks,
    )
    tiles = len(settings.grid.tiles)
    if ranks.rank == 0 and ranks.size > tiles:
        print(
            f"{experiment.name}/{reference}: {tiles} tiles for {ranks.size} ranks, "
            f"{ranks.size - tiles} have nothing to do; a smaller tile.walkers makes more tiles",
            file=sys.stderr,
            flush=True,
        )
    if ranks.rank == 0:
        for note in ladder_notes(experiment, reference):
            print(f"{experiment.name}/{reference}: {note}", file=sys.stderr, flush=True)
    kernel = get_kernel(section.kernel.name, **section.kernel.parameters)
    rule = get_swap_rule(section.swap_rule.name, **section.swap_rule.parameters)
    engine = Engine(path, start, kernel, settings, ranks, rule)
    what = f"temper {experiment.name}/{reference}"
    reporter = _Reporter(engine.rounds, what, enabled=ranks.rank == 0)
    statistics = _run(engine, archive, section.checkpoint_seconds, reporter, ranks)
    reporter.close()
    if ranks.rank == 0:
        write_record(
            folder / KEPT_RECORD,
            "temper",
            hash,
            started,
            device=device.type,
            ranks=ranks.size,
            threads=1,
            levels=len(settings.ladder),
            walkers=settings.walkers,
            draws=settings.draws,
            tiles=tiles,
            resumed_at_round=reporter.first,
            **_refusals(statistics),
            **evaluation_facts(statistics),
        )
        declare_done(folder, hash)
        archive.discard_checkpoint()


def _run(
    engine: Engine,
    archive: ReplicasArchive,
    checkpoint_seconds: float,
    reporter: _Reporter,
    ranks: Communicator,
) -> Statistics:
    """Run the engine to the end, or until a signal asks a rank to stop."""
    with signals_kept() as received:
        try:
            return engine.run(archive, checkpoint_seconds, reporter.update, received)
        except StoppedError as stopped:
            where = f"at round {stopped.round} of {engine.rounds}"
            error = SignalledError(stopped.why, where)
        # one rank says so, before the others end
        on_rank_0(ranks, lambda: print(error, file=sys.stderr, flush=True))
        raise error


def _refusals(statistics: Statistics) -> dict[str, Any]:
    """How many proposals had no energy, and the first that was not a number."""
    first = statistics.first_nan
    return {
        "rejected_nan": int(statistics.rejected_nan.sum()),
        "rejected_wall": int(statistics.rejected_wall.sum()),
        "first_nan": None if first is None else {"level": first.level, "x": first.x},
    }


def evaluation_facts(statistics: Statistics) -> dict[str, int]:
    """Evaluations of the target's energy by all ranks, those of an interrupted run included but
    for what it repeats.
    """
    warmup, recorded = statistics.evaluations.tolist()
    return {"evaluations_warmup": warmup, "evaluations_recorded": recorded}


class _Reporter:
    """Progress that starts counting where a resumed run does."""

    def __init__(self, total: int, what: str, *, enabled: bool) -> None:
        self._total, self._what, self._enabled = total, what, enabled
        self._progress: Progress | None = None
        self.first = 0

    def update(self, done: int) -> None:
        if self._progress is None:
            self.first = done
            if self._enabled and done > 0:
                print(f"{self._what}: resuming at round {done}", file=sys.stderr, flush=True)
            self._progress = Progress(
                self._total, self._what, "rounds", enabled=self._enabled, done=done
            )
        self._progress.update(done)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()


def _is_there(
    experiment: Experiment, reference: str, folder: Path, hash: str, started: float
) -> bool:
    """Make room for the run; whether its result is there already. On rank 0."""
    found = found_hash(folder)
    foreign = found is not None and found != hash
    if not foreign and (folder / "store.zarr").exists():
        try:
            verify_replicas(folder / "store.zarr", hash)
        except DamagedError as error:
            print(error, file=sys.stderr, flush=True)
        except UserError:
            # interrupted: the checkpoint goes on
            pass
        else:
            if not (folder / "done.json").exists():
                if not (folder / KEPT_RECORD).exists():
                    statistics = Replicas(folder / "store.zarr", hash).statistics
                    facts = {**_refusals(statistics), **evaluation_facts(statistics)}
                    write_record(
                        folder / KEPT_RECORD, "temper", hash, started, reused=True, **facts
                    )
                declare_done(folder, hash)
            return True
    check_reference_device(experiment, reference)
    if foreign:
        previous = set_aside(folder)
        print(
            f"{folder}: made from another configuration, moved to {previous.name}",
            file=sys.stderr,
            flush=True,
        )
    check_experiment(experiment)
    return False


def tempering_settings(
    experiment: Experiment, reference: str, ladder: tuple[float, ...]
) -> TemperingSettings:
    """The engine's settings for a reference of an experiment, from this ladder on."""
    section = experiment.tempering(reference)
    return TemperingSettings(
        ladder=ladder,
        walkers=section.walkers,
        rounds=section.rounds,
        warmup_rounds=section.warmup_rounds,
        thin=section.thin,
        local_steps=section.local_steps,
        step_size=section.kernel.step_size,
        scaling=section.kernel.scaling,
        adapt_step_size=section.kernel.adapt,
        target_acceptance=section.kernel.target_acceptance,
        metric=section.kernel.metric,
        adapt_ladder=is_adaptive(section.ladder),
        largest_step=getattr(section.ladder, "largest_step", 1.0),
        swap=section.swap,
        redraw_base=section.redraw_base,
        walkers_per_tile=section.tile.walkers,
        replicas_per_tile=section.tile.replicas,
        seed=experiment.seed,
        address=(experiment.name, reference),
    )


def _ladder(layout: Layout, experiment: Experiment, reference: str) -> tuple[float, ...]:
    section = experiment.tempering(reference)
    annealed, ladder = section.path == "annealed", section.ladder
    if isinstance(ladder, FixedLadder):
        return check_ladder(ladder.values, annealed)
    if isinstance(ladder, GeometricLadder):
        return geometric_ladder(ladder.first, ladder.levels, annealed)
    if isinstance(ladder, TemperatureLadder):
        return geometric_ladder(1 / ladder.hottest, ladder.levels, annealed)
    if isinstance(ladder, AdaptiveLadder):
        return starting_ladder(ladder.levels)
    return check_ladder(pilot_ladder(layout, experiment, reference), annealed)
