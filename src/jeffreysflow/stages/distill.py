"""The stage `distill`: train one level of a flow and push the ensemble through it."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.level import Alongside, distill_level
from jeffreysflow.distillation.parts import Reference, of_ensemble, of_walkers, which
from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.launch.cards import hold_cards
from jeffreysflow.launch.device import use_device
from jeffreysflow.launch.flow_notes import flow_notes
from jeffreysflow.launch.flow_settings import level_settings, level_streams
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_flow_path, scales_of
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.processes import SignalledError, signals_kept
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import (
    KEPT_RECORD,
    declare_done,
    is_complete,
    read_record,
    write_record,
)
from jeffreysflow.stores.distilled import is_distilled, made_from
from jeffreysflow.stores.ensembles import open_ensemble, write_ensemble
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Levels, open_levels
from jeffreysflow.stores.tables import write_table
from jeffreysflow.stores.training import SavedTraining, forget_trainings

__all__ = ["is_next", "run"]

_SECONDS = 60.0
"""A level that is killed has kept its training so long ago at most."""


def run(
    layout: Layout, experiment: Experiment, flow: str, level: int, *, ahead: bool = False
) -> None:
    """Distil level ``level`` = 1..K of a flow; writes flow, history, ensemble and record.

    A complete level of this configuration is left as it is. One made ``ahead``, in the process of
    the level below, is kept but not declared done: that is for the job which asks for it.

    Raises
    ------
    UserError : no such level, or what it is made from is missing, foreign or damaged.
    """
    started = time.time()
    section, hash = experiment.flow(flow), experiment.flow_hash(flow)
    steps = flow_steps(layout, experiment, flow)
    if not 1 <= level <= steps:
        raise UserError(f"{experiment.name}/{flow}: level {level}; allowed: 1 to {steps}")
    files = layout.flow(flow)
    folder, below_it = files.level(level), made_from(files, level)
    if is_distilled(files, level, hash):
        if not ahead:
            declare_done(folder, hash)
        return
    part, processes = section.at(level, steps), section.training.processes
    device = use_device(experiment.device, section.training.threads, processes)
    path = build_flow_path(experiment, flow, layout)
    assert path.base is not None
    path.base.to(device)
    path.target.to(device)

    what = f"distill {experiment.name}/{flow}" + ("" if steps == 1 else f" level {level}/{steps}")
    for note in flow_notes(experiment, flow) if level == 1 else ():
        print(f"{what}: {note}", flush=True)
    lam_0, lam_1, reference = _task(layout, experiment, flow, level)
    below: Ensemble | None = None
    learned_below: dict[str, torch.Tensor] = {}
    flow_below: TransportMap | None = None
    if level > 1:
        previous = files.level(level - 1)
        read_record(previous / (KEPT_RECORD if ahead else "done.json"), hash)
        stored = open_ensemble(previous / "ensemble.zarr", "ensemble", hash)
        below = Ensemble(*(field.to(device) for field in stored.samples()))
        learned_below = {name: stored.learned(name).to(device) for name in stored.learned_names}
        if part.network == section.network:
            flow_below = load_flow(previous / "flow.safetensors", hash).to(device)

    from_reference = level > 1 and part.training.source == "reference"
    reference_below = _task(layout, experiment, flow, level - 1)[2] if from_reference else None
    training_steps = part.steps_of(level)
    progress = Progress(training_steps, what)

    def report(row: HistoryRow) -> None:
        progress.update(row.step + 1, loss=row.loss, theta=row.theta)

    def stop(signal: int, step: int) -> None:
        where = f"at step {step} of {training_steps}"
        error = SignalledError(signal, where)
        print(f"{what}: {error}", file=sys.stderr, flush=True)
        raise error

    with _alongside(layout, experiment, flow, path, device) as alongside:
        result = distill_level(
            path,
            level_settings(part, level, lam_0, lam_1, path.target.derivatives),
            below,
            reference.to(device),
            level_streams(experiment, flow, level),
            flow_below,
            report,
            lambda line: print(f"{what}: {line}", flush=True),
            lambda attempt: SavedTraining(
                *(folder, attempt, f"{hash} {below_it} {device}", _SECONDS), signals_kept, stop
            ),
            alongside,
            learned_below,
            None if reference_below is None else reference_below.to(device),
        )
    progress.close(ess=result.facts["ess"], jeffreys_gap=result.facts["jeffreys_gap"])
    save_flow(folder / "flow.safetensors", result.flow, hash)
    write_table(folder / "history.csv", HistoryRow, result.history)
    write_ensemble(
        folder / "ensemble.zarr",
        hash,
        result.ensemble,
        result.learned,
        experiment=experiment.name,
        flow=flow,
        level=level,
        lam=lam_1,
        islands=section.islands,
        estimate_islands=which("estimate", section.islands),
        path=experiment.reference(experiment.tempered(flow)).path,
        seed=experiment.seed,
        **scales_of(experiment),
    )
    write_record(
        folder / KEPT_RECORD,
        "distill",
        hash,
        started,
        device=device.type,
        threads=torch.get_num_threads() * processes,
        processes=processes,
        level=level,
        lam=lam_1,
        made_from=below_it,
        **result.facts,
    )
    if not ahead:
        declare_done(folder, hash)
    forget_trainings(folder)


def is_next(layout: Layout, experiment: Experiment, flow: str, level: int) -> bool:
    """Whether there is a level ``level`` that has not been made and waits for the one below alone:
    not for a level of another flow.
    """
    if level > flow_steps(layout, experiment, flow):
        return False
    name = experiment.flow(flow).reference
    if is_complete(layout.flow(flow).level(level) / KEPT_RECORD, experiment.flow_hash(flow)):
        return False
    if name in experiment.references:
        return True
    trained_from = layout.flow(name).level(level) / "done.json"
    return is_complete(trained_from, experiment.flow_hash(name))


def _alongside(
    layout: Layout, experiment: Experiment, flow: str, path: AnnealingPath, device: torch.device
) -> AbstractContextManager[Alongside]:
    """The processes that train together with this one, where there are more."""
    processes = experiment.flow(flow).training.processes
    if processes == 1:
        return nullcontext(lambda training: nullcontext())
    from jeffreysflow.launch.training_processes import TrainingProcesses

    cards = hold_cards(processes) if device.type == "cuda" else ()
    return TrainingProcesses(experiment, flow, layout.results, path, processes, device, cards)


def _task(
    layout: Layout, experiment: Experiment, flow: str, level: int
) -> tuple[float, float, Reference]:
    """Where on the path a level begins and ends, and what it is trained towards: samples of
    tempering, or the ensemble of the flow it is trained from, at that level, or at the last where
    there is one flow.
    """
    section, name = experiment.flow(flow), experiment.flow(flow).reference
    once, tempered = section.levels == "last", name in experiment.references
    lam_0, lam_1 = 0.0, 1.0
    if tempered or not once:
        root = experiment.tempered(flow)
        levels = _levels(layout, experiment, root)
        # below the lowest level of a power path there is the base
        power = experiment.references[root].path == "power"
        lams = [0.0, *levels.lam] if power else list(levels.lam)
        if not once:
            lam_0, lam_1 = float(lams[level - 1]), float(lams[level])
        if tempered:
            x, U_0, V = levels.samples(-1 if once else level - power)
            # a classical reference has the energies of another target
            known = None if experiment.is_classical(name) else interpolated(U_0, V, lam_1)
            return lam_0, lam_1, of_walkers(x, levels.walkers, known)
    at = flow_steps(layout, experiment, name) if once else level
    return lam_0, lam_1, _from_ensemble(layout, experiment, flow, at, lam_1)


def _levels(layout: Layout, experiment: Experiment, reference: str) -> Levels:
    hash, folder = experiment.reference_hash(reference), layout.reference(reference).levels
    read_record(folder / "done.json", hash)
    return open_levels(folder / "store.zarr", hash)


def _from_ensemble(
    layout: Layout, experiment: Experiment, flow: str, level: int, lam: float
) -> Reference:
    name = experiment.flow(flow).reference
    folder, hash = layout.flow(name).level(level), experiment.flow_hash(name)
    read_record(folder / "done.json", hash)
    ensemble = open_ensemble(folder / "ensemble.zarr", "ensemble", hash).samples()
    stream = level_streams(experiment, flow, level)("resampled reference")
    return of_ensemble(ensemble, experiment.flow(name).islands, lam, stream)
