"""One level of sequential distillation (Algorithm 1 of arXiv 2604.05303).

Train a flow from the samples below to the tempering reference of this level, push the weighted
ensemble through it, and mend the ensemble where it degenerates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from jeffreysflow.distillation.divergences import JeffreysLoss, forward_bracket
from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    jeffreys_bracket,
    log_evidence,
    log_evidence_error,
    resampled,
)
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.distillation.selection import COLLAPSED, candidates, first_that_holds
from jeffreysflow.distillation.trainer import Recipe, Transport, shuffled_batches, train
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.flow import Flow
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["LevelResult", "LevelSettings", "base_ensemble", "distill_level", "pushed"]

_REFERENCE_HELD_OUT = 20
"""One in so many reference samples is not trained on,"""
_ENSEMBLE_HELD_OUT = 5
"""nor is one in so many rows of the ensemble below."""


@dataclass(frozen=True)
class LevelSettings:
    """How one level, from ``lam_0`` to ``lam_1`` of the path, is distilled.

    theta, order : weight of the reverse divergence and Renyi order; ``None`` leaves the choice to
        held-out samples, and then a flow that does worse than no flow is not used.
    layers, hidden, bins : of the flow; dtype : of its training.
    ensemble : size of the ensemble that level 1 starts, in ``islands`` equal parts that never mix.
    batch : samples pushed at a time.
    resample_below : the ensemble is resampled when its ESS falls below this fraction.
    rejuvenation_steps : MALA steps on the pushed ensemble.
    """

    lam_0: float
    lam_1: float
    theta: float | None = None
    order: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    layers: int = 6
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 16
    dtype: torch.dtype = torch.float32
    ensemble: int = 20_000
    islands: int = 20
    batch: int = 20_000
    resample_below: float = 0.5
    rejuvenation_steps: int = 0

    @property
    def candidates(self) -> tuple[JeffreysLoss, ...]:
        """The losses to try in turn."""
        return candidates(self.theta, self.order)

    @property
    def automatic(self) -> bool:
        """Whether something is left to choose."""
        return self.theta is None or self.order is None


class LevelResult(NamedTuple):
    """The flow of the level (float64), its training, the ensemble after it, facts about them."""

    flow: Flow
    history: list[HistoryRow]
    ensemble: Ensemble
    facts: dict[str, float]


class _Trained(NamedTuple):
    """A flow, and what it does to the ensemble below."""

    loss: JeffreysLoss
    flow: Flow
    history: list[HistoryRow]
    ensemble: Ensemble
    increments: torch.Tensor
    cess_held_out: float


def distill_level(
    path: AnnealingPath,
    settings: LevelSettings,
    below: Ensemble | None,
    reference: torch.Tensor,
    stream: Callable[[str], Stream],
    flow_below: Flow | None = None,
    progress: Callable[[HistoryRow], None] = lambda row: None,
    say: Callable[[str], None] = lambda line: None,
) -> LevelResult:
    """Distil one level. All tensors are on the device of the path's base.

    Training starts from the identity or from ``flow_below``, whichever gives held-out samples the
    larger conditional ESS before it. A loss under which that ESS collapses gives way to the next
    safer one, if ``settings`` leave the choice.

    Parameters
    ----------
    path : an annealing path with a base.
    below : the ensemble of the level below; ``None`` at level 1, where the base is sampled.
    reference : [N, d] float64 samples of this level's tempering; a twentieth is held out.
    stream : the random stream of each purpose ("weights", "source", ...).
    flow_below : the flow of the level below.
    progress, say : are told of each training step, and of each decision.

    Returns
    -------
    A result whose ``facts`` are ``ess`` (of the pushed ensemble), ``cess`` and ``cess_identity``
    (of this flow, and of no flow at all), ``cess_held_out`` (over the part of the ensemble that
    was not trained on, a fifth; at level 1, where fresh base samples are, all of it); ``log_z`` (of
    this level against the base) with ``log_z_error``; ``log_z_lower``, ``log_z_upper`` and their
    distance ``jeffreys_gap`` (of this step, over held-out weighted flow samples);
    ``gap_relative_to_reference`` (over held-out reference samples: it flatters a reference that
    misses a mode, and chooses nothing); the choices ``theta``, ``renyi``, ``warm_start`` (1: from
    the flow below), ``identity_used`` (1: no flow) and the number of trainings, ``attempts``;
    ``train_seconds`` (of all of them), ``push_seconds``, ``skipped``, ``resampled`` and
    ``rejuvenation_acceptance``.
    """
    base = path.base
    assert base is not None
    lam_0, lam_1, first_level = settings.lam_0, settings.lam_1, below is None
    if below is None:
        below = base_ensemble(path, settings.ensemble, stream("ensemble"))
    row = torch.arange(len(below.x), device=below.x.device)
    # at level 1 training sees fresh base samples, so that none of these is one of them
    unseen = row if first_level else row[row % _ENSEMBLE_HELD_OUT == 0]
    held_out = below.rows(unseen)
    identity = -(lam_1 - lam_0) * below.V
    identity_held_out = conditional_ess(held_out.log_weights, identity[unseen])

    order = stream("held out").permutation(len(reference)).to(reference.device)
    kept_back = max(len(reference) // _REFERENCE_HELD_OUT, 1)
    test, training = reference[order[:kept_back]], reference[order[kept_back:]]
    rows = below.x
    if not first_level:
        drawn = resampled(
            below.rows(row % _ENSEMBLE_HELD_OUT != 0), len(training), stream("resampled source")
        )
        rows = _moved(drawn, path, lam_0, settings, stream("moved source"))[0].x
    variances = [float(path.domain.variance(x).sum()) for x in (rows, training)]
    energies = _energy_at(path, lam_0), _energy_at(path, lam_1)

    def transport(attempt: int) -> Transport:
        batch, dtype = settings.recipe.batch, settings.dtype
        number = f" {attempt}" if attempt else ""
        if first_level:
            fresh = stream("source" + number)
            source = _repeat(lambda: base.sample(batch, fresh, dtype=dtype))
        else:
            source = shuffled_batches(rows.to(dtype), batch, stream("source" + number))
        targets = shuffled_batches(training.to(dtype), batch, stream("reference" + number))
        return Transport(source, targets, *energies, *variances)

    box = spline_box(base, below.x, reference)

    def new_flow(start: Flow | None) -> Flow:
        shape = settings.layers, settings.hidden, settings.bins
        flow = Flow(*box, *shape, stream("weights")).to(reference.device, settings.dtype)
        if start is not None:
            flow.load_state_dict(start.state_dict())
        return flow

    def push(flow: Flow) -> tuple[Ensemble, torch.Tensor]:
        return pushed(flow.to(torch.float64), path, lam_0, lam_1, below, settings.batch)

    start = None
    if flow_below is not None:
        few = held_out.rows(slice(0, settings.batch))
        _, increments = pushed(
            new_flow(flow_below).to(torch.float64), path, lam_0, lam_1, few, settings.batch
        )
        if conditional_ess(few.log_weights, increments) > identity_held_out:
            start = flow_below
    seconds = {"train": 0.0, "push": 0.0}

    def trained(loss: JeffreysLoss, attempt: int) -> _Trained:
        flow, clock = new_flow(start), time.perf_counter()
        history = train(flow, transport(attempt), loss, settings.recipe, progress)
        seconds["train"] += time.perf_counter() - clock
        clock = time.perf_counter()
        ensemble, increments = push(flow)
        seconds["push"] += time.perf_counter() - clock
        cess = conditional_ess(held_out.log_weights, increments[unseen])
        say(
            f"theta {loss.theta:g}, Renyi order {loss.order:g}: held-out conditional ESS "
            f"{cess:.1%}, {identity_held_out:.1%} without a flow"
        )
        return _Trained(loss, flow, history, ensemble, increments, cess)

    best, attempts = first_that_holds(
        settings.candidates,
        trained,
        lambda result: result.cess_held_out,
        max(identity_held_out, COLLAPSED) if settings.automatic else 0.0,
    )
    useless = settings.automatic and not best.cess_held_out >= identity_held_out
    if useless:
        say("no flow does better than none: this level is the identity")
        flow = new_flow(None)
        best = best._replace(flow=flow, cess_held_out=identity_held_out)
        ensemble, increments = push(flow)
    else:
        ensemble, increments = best.ensemble, best.increments
    ess = effective_sample_size(ensemble.log_weights)
    lower, upper = jeffreys_bracket(held_out.log_weights, increments[unseen])
    with torch.no_grad():
        D = forward_bracket(best.flow, test, *energies).mean()
    facts = {
        "ess": ess,
        "cess": conditional_ess(below.log_weights, increments),
        "cess_held_out": best.cess_held_out,
        "cess_identity": conditional_ess(below.log_weights, identity),
        "log_z": log_evidence(ensemble.log_weights),
        "log_z_error": log_evidence_error(ensemble.log_weights, settings.islands),
        "log_z_lower": lower,
        "log_z_upper": upper,
        "jeffreys_gap": upper - lower,
        "gap_relative_to_reference": float(D) - lower,
        "theta": best.loss.theta,
        "renyi": best.loss.order,
        "warm_start": float(start is not None),
        "identity_used": float(useless),
        "attempts": float(attempts),
        "train_seconds": seconds["train"],
        "push_seconds": seconds["push"],
        "skipped": best.history[-1].skipped,
        "resampled": float(ess < settings.resample_below),
    }
    if ess < settings.resample_below:
        n = len(ensemble.x)
        ensemble = resampled(ensemble, n, stream("resampling"), settings.islands)
    if settings.rejuvenation_steps:
        ensemble, facts["rejuvenation_acceptance"] = _moved(
            ensemble, path, lam_1, settings, stream("rejuvenation")
        )
    return LevelResult(best.flow, best.history, ensemble, facts)


def base_ensemble(path: AnnealingPath, n: int, stream: Stream) -> Ensemble:
    """``n`` exact base samples of equal weight."""
    assert path.base is not None
    x = path.base.sample(n, stream)
    with torch.no_grad():
        U_0, V = path.energies(x)
    return Ensemble(x, torch.zeros_like(U_0), U_0, V)


@torch.no_grad()
def pushed(
    flow: Flow, path: AnnealingPath, lam_0: float, lam_1: float, ensemble: Ensemble, batch: int
) -> tuple[Ensemble, torch.Tensor]:
    """The ensemble mapped through ``flow``, and the logarithms of its weight factors [n],

        ``log w = -U_1(F x) + U_0(x) + log|det dF(x)|``.

    A sample whose new energy is not finite gets weight 0.
    """
    parts, increments = [], []
    for start in range(0, len(ensemble.x), batch):
        x, log_weights, U_0, V = (field[start : start + batch] for field in ensemble)
        y, log_det = flow(x)
        new_U_0, new_V = path.energies(y)
        log_w = (U_0 + lam_0 * V) - (new_U_0 + lam_1 * new_V) + log_det
        log_w = torch.where(torch.isfinite(log_w), log_w, -torch.inf)
        parts.append(Ensemble(y, log_weights + log_w, new_U_0, new_V))
        increments.append(log_w)
    return Ensemble(*map(torch.cat, zip(*parts, strict=True))), torch.cat(increments)


def _moved(
    ensemble: Ensemble, path: AnnealingPath, lam: float, settings: LevelSettings, stream: Stream
) -> tuple[Ensemble, float]:
    return rejuvenated(ensemble, path, lam, settings.rejuvenation_steps, settings.batch, stream)


def _energy_at(path: AnnealingPath, lam: float) -> Callable[[torch.Tensor], torch.Tensor]:
    # at the ends one of the two energies need not be computed
    if lam == 0.0 and path.base is not None:
        return path.base.energy
    if lam == 1.0:
        return path.target.energy
    return lambda x: path.energy(x, lam)


def _repeat(draw: Callable[[], torch.Tensor]) -> Iterator[torch.Tensor]:
    while True:
        yield draw()
