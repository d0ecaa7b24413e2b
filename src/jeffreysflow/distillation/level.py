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

from jeffreysflow.distillation.divergences import forward_bracket
from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    jeffreys_bracket,
    log_evidence,
    resampled,
)
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.distillation.trainer import Recipe, Transport, shuffled_batches, train
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.flow import Flow
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["LevelResult", "LevelSettings", "base_ensemble", "distill_level", "pushed"]

_HELD_OUT = 0.05


@dataclass(frozen=True)
class LevelSettings:
    """How one level, from ``lam_0`` to ``lam_1`` of the path, is distilled.

    theta : weight of the reverse divergence.
    layers, hidden, bins : of the flow; dtype : of its training.
    ensemble : size of the ensemble that level 1 starts; batch : samples pushed at a time.
    resample_below : the ensemble is resampled when its ESS falls below this fraction.
    rejuvenation_steps : MALA steps on the pushed ensemble.
    """

    lam_0: float
    lam_1: float
    theta: float
    recipe: Recipe = field(default_factory=Recipe)
    layers: int = 6
    hidden: tuple[int, ...] = (64, 64)
    bins: int = 16
    dtype: torch.dtype = torch.float32
    ensemble: int = 20_000
    batch: int = 20_000
    resample_below: float = 0.5
    rejuvenation_steps: int = 0


class LevelResult(NamedTuple):
    """The trained flow (float64), its training, the ensemble after it, and facts about them."""

    flow: Flow
    history: list[HistoryRow]
    ensemble: Ensemble
    facts: dict[str, float]


def distill_level(
    path: AnnealingPath,
    settings: LevelSettings,
    below: Ensemble | None,
    reference: torch.Tensor,
    stream: Callable[[str], Stream],
    progress: Callable[[HistoryRow], None] = lambda row: None,
) -> LevelResult:
    """Distil one level. All tensors are on the device of the path's base.

    Parameters
    ----------
    path : an annealing path with a base.
    below : the ensemble of the level below; ``None`` at level 1, where the base is sampled.
    reference : [N, d] float64 samples of this level's tempering; a twentieth is held out.
    stream : the random stream of each purpose ("weights", "source", ...).

    Returns
    -------
    A result whose ``facts`` are ``ess`` (of the pushed ensemble), ``cess`` and ``cess_identity``
    (of this flow, and of no flow at all), ``log_z`` (of this level against the base);
    ``log_z_lower``, ``log_z_upper`` and their distance ``jeffreys_gap`` (of this step, over
    weighted flow samples; from level 2 on it was trained on draws from the same ensemble);
    ``gap_relative_to_reference`` (over held-out reference samples: it flatters a reference that
    misses a mode, and chooses nothing); ``train_seconds``, ``skipped``, ``resampled`` and
    ``rejuvenation_acceptance``.
    """
    base = path.base
    assert base is not None
    lam_0, lam_1, recipe = settings.lam_0, settings.lam_1, settings.recipe
    order = stream("held out").permutation(len(reference)).to(reference.device)
    held_out = max(int(_HELD_OUT * len(reference)), 1)
    test, training = reference[order[:held_out]], reference[order[held_out:]]
    if below is None:
        below = base_ensemble(path, settings.ensemble, stream("ensemble"))
        rows = below.x
        fresh = stream("source")
        source = _repeat(lambda: base.sample(recipe.batch, fresh, dtype=settings.dtype))
    else:
        rows = resampled(below, len(training), stream("resampled source")).x
        source = shuffled_batches(rows.to(settings.dtype), recipe.batch, stream("source"))
    transport = Transport(
        source,
        shuffled_batches(training.to(settings.dtype), recipe.batch, stream("reference")),
        _energy_at(path, lam_0),
        _energy_at(path, lam_1),
        float(path.domain.variance(rows).sum()),
        float(path.domain.variance(training).sum()),
    )
    flow = Flow(
        *spline_box(base, below.x, reference),
        settings.layers,
        settings.hidden,
        settings.bins,
        stream("weights"),
    ).to(reference.device, settings.dtype)
    started = time.perf_counter()
    history = train(flow, transport, settings.theta, recipe, progress)
    train_seconds = time.perf_counter() - started
    flow.to(torch.float64)

    ensemble, increments = pushed(flow, path, lam_0, lam_1, below, settings.batch)
    ess = effective_sample_size(ensemble.log_weights)
    lower, upper = jeffreys_bracket(below.log_weights, increments)
    with torch.no_grad():
        D = forward_bracket(flow, test, transport.energy_0, transport.energy_1).mean()
    facts = {
        "ess": ess,
        "cess": conditional_ess(below.log_weights, increments),
        "cess_identity": conditional_ess(below.log_weights, -(lam_1 - lam_0) * below.V),
        "log_z": log_evidence(ensemble.log_weights),
        "log_z_lower": lower,
        "log_z_upper": upper,
        "jeffreys_gap": upper - lower,
        "gap_relative_to_reference": float(D) - lower,
        "train_seconds": train_seconds,
        "skipped": history[-1].skipped,
        "resampled": float(ess < settings.resample_below),
    }
    if ess < settings.resample_below:
        ensemble = resampled(ensemble, len(ensemble.x), stream("resampling"))
    if settings.rejuvenation_steps:
        ensemble, facts["rejuvenation_acceptance"] = rejuvenated(
            ensemble, path, lam_1, settings.rejuvenation_steps, stream("rejuvenation")
        )
    return LevelResult(flow, history, ensemble, facts)


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
