"""One level of sequential distillation (Algorithm 1 of arXiv 2604.05303).

Train a flow from the samples below to the tempering reference of this level, push the weighted
ensemble through it, and mend the ensemble where it degenerates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import NamedTuple

import torch

from jeffreysflow.distillation.best import kept_step
from jeffreysflow.distillation.divergences import forward_bracket
from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    jeffreys_bracket,
    log_evidence,
    log_evidence_error,
    resampled_rows,
)
from jeffreysflow.distillation.history import NOT_TRAINED, HistoryRow
from jeffreysflow.distillation.learned_weights import learned_weights
from jeffreysflow.distillation.loss import Loss, check_map_of_loss
from jeffreysflow.distillation.memory import Forgetful, TrainingMemory
from jeffreysflow.distillation.parallel import counted_by_all
from jeffreysflow.distillation.parts import Reference, which
from jeffreysflow.distillation.selection import SATISFACTORY, best_by_climbing
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.step import Pushed, Step
from jeffreysflow.distillation.trainer import Training, train
from jeffreysflow.distillation.watched import gradient_facts, worth_alone
from jeffreysflow.estimation.group_errors import FEWEST_GROUPS
from jeffreysflow.flows.integrated import IntegratedFlow
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["Alongside", "LevelResult", "distill_level"]

Alongside = Callable[[Training], AbstractContextManager[None]]

_MARGIN = 0.05
"""Where no flow does very well, neither does one that loses no more than this against it."""


class LevelResult(NamedTuple):
    """The flow of the level (float64), its training, the ensemble after it, facts about them, and
    by name the learned log weights [n] of the ensemble.
    """

    flow: TransportMap
    history: list[HistoryRow]
    ensemble: Ensemble
    facts: dict[str, float]
    learned: Mapping[str, torch.Tensor]


class _Trained(NamedTuple):
    loss: Loss
    flow: TransportMap
    history: list[HistoryRow]
    pushed: Pushed
    train_seconds: float
    push_seconds: float
    evaluations: int
    evaluated_here: int


def distill_level(
    path: AnnealingPath,
    settings: LevelSettings,
    below: Ensemble | None,
    reference: Reference,
    stream: Callable[[str], Stream],
    flow_below: TransportMap | None = None,
    progress: Callable[[HistoryRow], None] = lambda row: None,
    say: Callable[[str], None] = lambda line: None,
    memory: Callable[[int], TrainingMemory] = lambda attempt: Forgetful(),
    alongside: Alongside = lambda training: nullcontext(),
    learned_below: Mapping[str, torch.Tensor] = MappingProxyType({}),
    reference_below: Reference | None = None,
) -> LevelResult:
    """Distil one level. All tensors are on the device of the path's base.

    Training starts from the identity or from the parameters of ``flow_below``, whichever gives
    held-out samples the larger conditional ESS before it. Where a loss that leaves a choice does
    not reach a satisfactory one, safer or bolder options are tried, and the best is kept; if none
    does better than no flow, there is none. All that is chosen, resampling included, is chosen by
    the islands that choose, so that those that estimate are as independent of it as fresh samples
    (`parts`).

    Parameters
    ----------
    path : an annealing path with a base.
    below : the ensemble of the level below; ``None`` at level 1, where the base is sampled.
    reference : float64 samples of this level's tempering, to train on and to test with.
    stream : the random stream of each purpose ("weights", "source", ...).
    flow_below : the flow of the level below.
    progress, say : are told of each training step, and of each decision.
    memory : where the state of each training is kept, by its number.
    alongside : entered for each training; other processes may do their part of it meanwhile.
    learned_below : the learned log weights [n] of the ensemble below, where there is one.
    reference_below : the reference of the level below, where training begins from it and not from
        islands of the ensemble, which may be few.

    Returns
    -------
    A result whose ``facts`` are ``ess`` (of the pushed ensemble), ``cess`` and ``cess_identity``
    (of this flow, and of no flow at all), all over the whole ensemble; ``ess_held_out`` and
    ``cess_held_out`` over the islands that estimate.

    Over the islands that estimate: ``log_z`` (of this level against the base) with ``log_z_error``
    and its degrees of freedom ``log_z_dof`` where there are eight or more of them; and of this step
    ``log_z_lower``, ``log_z_upper``, their distance ``jeffreys_gap``. Beside these, but at level 1,
    ``ess_trained`` and ``cess_trained`` over the islands trained on, and ``overfitting``, by how
    much ``log_z_lower``, the mean log weight of the step, is larger there (kT). At level 1 what
    samples of the base are worth without a flow, by ``worth_alone``.

    ``gap_relative_to_reference`` (over the test part of the reference: it flatters a reference that
    misses a mode, and chooses nothing; none of a map without inverse); the facts of the loss that
    was chosen (``theta``, ``renyi``), ``biased_weights`` (1) of a map whose weights are,
    ``warm_start`` (1: from the flow below), ``identity_used`` (1: no flow), the number of
    trainings, ``attempts``, and ``kept_step``, the step whose weights the flow has; what lies
    outside the flow's box, by ``outside_facts``, at the last level by the energy too;
    ``evaluations_training`` and ``evaluations_ensemble`` of the target's energy, those in the
    losses and all others (pushing, moving, weighing); ``train_seconds``, ``push_seconds``,
    ``skipped`` steps and samples in ``walls`` (of all of them), ``resampled`` and
    ``rejuvenation_acceptance``. Of learned weights, by their name: ``learned_ess`` and
    ``learned_cess`` over the islands that estimate, ``learned_loss`` (kT^2) without its floor, and
    ``learned_evaluations``.
    """
    already = path.evaluations
    step = Step(path, settings, below, reference, stream, reference_below)
    start = step.start(flow_below)
    without = step.conditional_ess(step.identity, "choose")
    trainings: list[_Trained] = []

    options = settings.loss.options

    def trained(option: int) -> _Trained:
        loss, attempt = options[option], len(trainings)
        kept = memory(attempt)
        result = _trained(path, step, start, settings, loss, attempt, progress, kept, alongside)
        trainings.append(result)
        kept_at = kept_step(result.history)
        if kept_at is not None:
            say(
                f"{loss}: kept are the weights of step {kept_at} of {settings.recipe.steps}; later "
                "ones learn the reference by heart"
            )
        say(
            f"{loss}: conditional ESS {result.pushed.score:.1%} of held-out samples, "
            f"{without:.1%} without a flow"
        )
        return result

    best = best_by_climbing(
        len(options),
        settings.loss.first,
        trained,
        lambda result: result.pushed.score,
        max(SATISFACTORY, without - _MARGIN),
    )
    useless = settings.loss.automatic and best.pushed.score < without
    if useless:
        say("no flow does better than none: this level is the identity")
        flow = step.new_flow()
        best = best._replace(flow=flow, pushed=step.push(flow))
    facts = (
        _facts(step, best, settings.islands)
        | step.outside(best.pushed.ensemble)
        | gradient_facts(best.history, settings.recipe.clip)
        | {
            "warm_start": float(start is not None),
            "identity_used": float(useless),
            "attempts": float(len(trainings)),
            "kept_step": float(kept_step(best.history) or settings.recipe.steps),
            "train_seconds": sum(each.train_seconds for each in trainings),
            "push_seconds": sum(each.push_seconds for each in trainings),
            "skipped": sum(each.history[-1].skipped for each in trainings),
            "walls": sum(each.history[-1].walls for each in trainings),
        }
    )
    ensemble = best.pushed.ensemble
    learned, learned_facts = learned_weights(
        path, settings, step, best.pushed, learned_below, stream
    )
    facts |= learned_facts
    # all that estimates nothing: the more islands, the sooner a few huge weights are met
    deciding = ensemble.log_weights[torch.cat((step.rows["train"], step.rows["choose"]))]
    facts["resampled"] = float(effective_sample_size(deciding) < settings.resample_below)
    if facts["resampled"]:
        before, n = ensemble.log_weights, len(ensemble.x)
        rows, after = resampled_rows(before, n, stream("resampling"), settings.islands)
        ensemble = ensemble.rows(rows)._replace(log_weights=after)
        # what they say of a row beyond its exact weight, by which it was drawn
        learned = {name: after + (own - before)[rows] for name, own in learned.items()}
    if settings.rejuvenation_steps:
        ensemble, facts["rejuvenation_acceptance"] = step.moved(ensemble, stream("rejuvenation"))
    facts["evaluations_training"] = sum(each.evaluations for each in trainings)
    here = sum(each.evaluated_here for each in trainings)
    facts["evaluations_ensemble"] = path.evaluations - already - here
    return LevelResult(best.flow, best.history, ensemble, facts, learned)


def _trained(
    path: AnnealingPath,
    step: Step,
    start: TransportMap | None,
    settings: LevelSettings,
    loss: Loss,
    attempt: int,
    progress: Callable[[HistoryRow], None],
    memory: TrainingMemory,
    alongside: Alongside,
) -> _Trained:
    flow = step.new_flow(start)
    if not flow.is_trained:
        check_map_of_loss(loss, flow, flow.kind)
    training = Training(flow, step.transport(attempt), loss, settings.recipe)
    started, already = time.perf_counter(), path.evaluations
    history, evaluations = [NOT_TRAINED], 0
    if not flow.is_trained:
        with alongside(training):
            tally = path.counted.tally
            history, evaluations = train(*training, progress, memory, lambda: counted_by_all(tally))
    step.finish(flow, attempt)
    finished, here = time.perf_counter(), path.evaluations - already
    pushed = step.push(flow)
    seconds = finished - started, time.perf_counter() - finished
    return _Trained(loss, flow, history, pushed, *seconds, evaluations, here)


def _facts(step: Step, best: _Trained, islands: int) -> dict[str, float]:
    ensemble, increments, _ = best.pushed
    before, estimate = step.below.log_weights, step.rows["estimate"]
    after = ensemble.log_weights[estimate]
    lower, upper = jeffreys_bracket(before[estimate], increments[estimate])
    facts = {
        "ess": effective_sample_size(ensemble.log_weights),
        "ess_held_out": effective_sample_size(after),
        "cess": conditional_ess(before, increments),
        "cess_held_out": step.conditional_ess(increments, "estimate"),
        "cess_identity": conditional_ess(before, step.identity),
        "log_z": log_evidence(after),
        "log_z_lower": lower,
        "log_z_upper": upper,
        "jeffreys_gap": upper - lower,
        **best.loss.facts,
    }
    if isinstance(best.flow, IntegratedFlow):
        facts |= best.flow.weight_facts
    if best.flow.invertible:
        with torch.no_grad():
            energy_0, energy_1 = step.energies
            y, U = step.reference.test, step.reference.U_test
            U = energy_1(y) if U is None else U
            rows = best.flow.rows_at_once
            brackets = [
                forward_bracket(best.flow, *some, energy_0)
                for some in zip(torch.split(y, rows), torch.split(U, rows), strict=True)
            ]
        forward = torch.cat([bracket.values[bracket.free] for bracket in brackets]).mean()
        facts["gap_relative_to_reference"] = float(forward) - lower
    independent = len(which("estimate", islands))
    if independent >= FEWEST_GROUPS:
        facts["log_z_error"] = log_evidence_error(after, independent)
        facts["log_z_dof"] = independent - 1
    if not step.trained_on:
        facts |= worth_alone(step.identity, islands)
    if step.trained_on:
        train = step.rows["train"]
        facts["ess_trained"] = effective_sample_size(ensemble.log_weights[train])
        facts["cess_trained"] = conditional_ess(before[train], increments[train])
        facts["overfitting"] = jeffreys_bracket(before[train], increments[train])[0] - lower
    return facts
