"""The commands that run a stage of a resolved experiment, and what they ask before they do."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment, load_experiment
from jeffreysflow.config.integration import OwnVelocity
from jeffreysflow.config.project import page_hash
from jeffreysflow.config.size import refuse_without_memory
from jeffreysflow.config.structure_files import own_executed_files
from jeffreysflow.errors import UserError
from jeffreysflow.machine import memory_limit_mb
from jeffreysflow.stores.completion import declare_done
from jeffreysflow.stores.distilled import is_distilled
from jeffreysflow.stores.layout import Layout, page_usage
from jeffreysflow.stores.locking import SoleWriter
from jeffreysflow.stores.sealed import DamagedError, check_seal

__all__ = [
    "run_base",
    "run_beads",
    "run_distill",
    "run_estimate",
    "run_figures",
    "run_frames",
    "run_gather",
    "run_generate",
    "run_paper",
    "run_pilot",
    "run_report",
    "run_temper",
    "run_truth",
    "run_verify",
]


_QUICK_SECONDS = 60.0


def _resolved(options: argparse.Namespace) -> tuple[Layout, Experiment]:
    return Layout.of_config(options.config), _trusted(options.config, options.trust)


def _trusted(config: Path, trust: bool) -> Experiment:
    """A resolved configuration that may be acted on: it names a file that will be executed."""
    if not trust:
        _refuse_foreign(config)
    try:
        check_seal(config)
    except DamagedError as error:
        raise UserError(
            f"{config}: changed since the workflow wrote it, which the next run does again; "
            "what it says belongs into the experiment's file"
        ) from error
    experiment = load_experiment(config)
    executed = [experiment.potential.file]
    executed += [
        flow.network.file
        for flow in experiment.flows.values()
        if isinstance(flow.network, OwnVelocity)
    ]
    own = (Path(name) for name in executed if name is not None)
    for file in () if trust else chain(own, own_executed_files(experiment.potential)):
        _refuse_foreign(file)
    return experiment


def _refuse_foreign(file: Path) -> None:
    here, project = Path.cwd().resolve(), Path(__file__).resolve().parents[2]
    if not any(file.resolve().is_relative_to(folder) for folder in (here, project)):
        raise UserError(
            f"{file}: from outside the working folder {here}; if you trust it, add --trust"
        )


def _measured(
    options: argparse.Namespace, experiment: Experiment, stage: str, of: str, hash: str, **more: Any
) -> AbstractContextManager[None]:
    """Around the work of a stage: what it uses is written beside its results. On one thread, where
    the stage asks for no others, since sums on more have other bits.

    Raises
    ------
    UserError : it needs more memory than there is.
    """
    import torch

    from jeffreysflow.launch.usage import measured

    torch.set_num_threads(1)
    kind, ranks = stage.partition("_")[0], more.get("ranks", 1)
    if more.get("rank", 0) == 0:
        refuse_without_memory(experiment, kind, of, ranks, memory_limit_mb())
    layout = Layout.of_config(options.config)
    folder = layout.usage(stage, of, more.get("level"))
    return measured(folder, kind, of, hash, **more)


def run_pilot(options: argparse.Namespace) -> None:
    """Suggest a ladder for one reference, on MPI."""
    from jeffreysflow.stages import pilot

    _on_ranks(options, "pilot", Experiment.pilot_hash, pilot.run)


def run_temper(options: argparse.Namespace) -> None:
    """Temper one reference, on MPI."""
    from jeffreysflow.stages import temper

    _on_ranks(options, "temper", Experiment.reference_hash, temper.run)


def _on_ranks(
    options: argparse.Namespace,
    stage: str,
    hash_of: Callable[[Experiment, str], str],
    run: Callable[..., None],
) -> None:
    from jeffreysflow.launch.mpi import world

    layout, experiment = _resolved(options)
    hash, ranks = hash_of(experiment, options.reference), world()
    place = {"rank": ranks.rank, "ranks": ranks.size}
    with _measured(options, experiment, stage, options.reference, hash, skips=True, **place):
        wanted = options.expect_ranks
        run(layout, experiment, options.reference, expect_ranks=wanted, communicator=ranks)


def run_gather(options: argparse.Namespace) -> None:
    """Demultiplex the replicas of a reference."""
    from jeffreysflow.stages import gather

    layout, experiment = _resolved(options)
    hash = experiment.reference_hash(options.reference)
    folder = layout.reference(options.reference).folder
    with SoleWriter(folder), _measured(options, experiment, "gather", options.reference, hash):
        gather.run(layout, experiment, options.reference)


def run_base(options: argparse.Namespace) -> None:
    """Fit the base to a level."""
    from jeffreysflow.stages import base

    layout, experiment = _resolved(options)
    level = options.level
    base.check_fitted_to(experiment, level)
    hash = experiment.base_hash(level)
    with SoleWriter(layout.base(level)), _measured(options, experiment, "base", level, hash):
        base.run(layout, experiment, level)


def run_distill(options: argparse.Namespace) -> None:
    """Train one level of a flow, and in its first minute the next ones, each of which would import
    everything anew.

    Their jobs find them and declare them done. What fails in one of them is left to its own job.
    """
    layout, experiment = _resolved(options)
    flow, level, started = options.flow, options.level, time.monotonic()
    files, hash = layout.flow(flow), experiment.flow_hash(flow)
    processes = experiment.flow(flow).training.processes
    with SoleWriter(files.folder):
        if is_distilled(files, level, hash):
            declare_done(files.level(level), hash)
            return
        from jeffreysflow.stages import distill

        def measured(level: int) -> AbstractContextManager[None]:
            more = {"level": level, "skips": True, "processes": processes}
            return _measured(options, experiment, "distill", flow, hash, **more)

        with measured(level):
            distill.run(layout, experiment, flow, level)
        while time.monotonic() - started < _QUICK_SECONDS:
            level += 1
            if not distill.is_next(layout, experiment, flow, level):
                return
            try:
                with measured(level):
                    distill.run(layout, experiment, flow, level, ahead=True)
            except UserError:
                return


def run_generate(options: argparse.Namespace) -> None:
    """Push fresh base samples through a flow."""
    from jeffreysflow.stages import generate

    layout, experiment = _resolved(options)
    hash = experiment.generation_hash(options.flow)
    folder = layout.flow(options.flow).folder
    with SoleWriter(folder), _measured(options, experiment, "generate", options.flow, hash):
        generate.run(layout, experiment, options.flow)


def run_beads(options: argparse.Namespace) -> None:
    """Average over the beads of a path integral."""
    from jeffreysflow.stages import beads

    layout, experiment = _resolved(options)
    with _measured(options, experiment, "beads", options.flow, experiment.bead_hash(options.flow)):
        beads.run(layout, experiment, options.flow)


def run_truth(options: argparse.Namespace) -> None:
    """Compute exact values."""
    from jeffreysflow.stages import truth

    layout, experiment = _resolved(options)
    with _measured(options, experiment, "truth", "all", experiment.truth_hash()):
        truth.run(layout, experiment)


def run_estimate(options: argparse.Namespace) -> None:
    """Estimate from a reference or a flow."""
    from jeffreysflow.stages import estimate

    layout, experiment = _resolved(options)
    hash = experiment.estimate_hash()
    if options.flow is not None:
        with _measured(options, experiment, "estimate_flow", options.flow, hash):
            estimate.run_flow(layout, experiment, options.flow)
    else:
        with _measured(options, experiment, "estimate_reference", options.reference, hash):
            estimate.run_reference(layout, experiment, options.reference)


def run_figures(options: argparse.Namespace) -> None:
    """Draw the figures of an experiment."""
    from jeffreysflow.stages import figures

    layout, experiment = _resolved(options)
    with _measured(options, experiment, "figures", "all", experiment.estimate_hash()):
        figures.run(layout, experiment)


def run_frames(options: argparse.Namespace) -> None:
    """Write samples of a molecule for other programs."""
    from jeffreysflow.stages.frames import write_frames

    layout, experiment = _resolved(options)
    of = options.reference, options.flow, options.level, options.ensemble
    for file in write_frames(layout, experiment, options.folder, options.number, *of):
        print(f"wrote {file}")


def run_report(options: argparse.Namespace) -> None:
    """Collect all experiments on one page."""
    from jeffreysflow.launch.usage import measured
    from jeffreysflow.stages import report

    experiments = [_trusted(config, options.trust) for config in options.config]
    with measured(page_usage(options.results), "report", "all", page_hash(experiments)):
        report.run(options.results, experiments)


def run_paper(options: argparse.Namespace) -> None:
    """Show the paper's figures and tables under their numbers."""
    from jeffreysflow.launch.usage import measured
    from jeffreysflow.stages import paper

    if not options.results.is_dir():
        raise UserError(f"{options.results}: no such folder")
    with measured(options.results / "usage" / "paper", "paper", "all", ""):
        paper.run(options.results, options.facts)


def run_verify(options: argparse.Namespace) -> None:
    """Name what is damaged in a results folder, and withdraw it where that is asked for."""
    from jeffreysflow.stages.verify import damaged

    if not options.folder.is_dir():
        raise UserError(f"{options.folder}: no such folder")
    found = list(damaged(options.folder, chunks=options.chunks))
    for error in found:
        print(f"jeffreysflow verify: {error}", file=sys.stderr, flush=True)
        if options.withdraw:
            error.withdraw()
    if found and not options.withdraw:
        raise UserError(f"{options.folder}: {len(found)} damaged; --withdraw lets a run mend them")
