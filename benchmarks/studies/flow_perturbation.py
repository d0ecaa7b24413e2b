"""Estimators of a continuous flow's Jacobian side by side, on the two wells in several dimensions.

    python benchmarks/studies/flow_perturbation.py [--dimensions 10 100] [--seed 1]

A flow is trained by flow matching on as many exact samples of both wells, or with `--velocity
mixture` has that of two Gaussians fitted to them, and the same base samples are weighed by each
estimator: passes and seconds a sample, the variance of the log weight beyond that of exact weights
(the mean over base samples of that over random numbers, at the same base sample), how much larger
it is in the well of a quarter than in the other, the ESS, and the weight of that well, which must
be .25. Of exact weights fewer samples are taken (`--exact`): each takes as many passes as there are
coordinates. What clusters and a backward scale take to learn, once for all samples, is told below
the table and is in no column of it.

The same arithmetic (float64), steps and integrator for all; one thread. Seconds of forwards passes
are those of batches of 250 samples, of exact weights those of what memory holds. `--figure out.svg`
draws cost, variance and the weight of the well against the dimension, beside what is published.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.ensemble import Ensemble, effective_sample_size
from jeffreysflow.distillation.extended import generated
from jeffreysflow.distillation.loss import get_loss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.estimation.fit_base import fit_gaussians
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.jacobian import get_jacobian
from jeffreysflow.flows.map import build_map
from jeffreysflow.flows.maps.continuous import ContinuousFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.report.style import (
    FULL_WIDTH,
    GREY,
    PALETTE,
    PUBLISHED,
    look,
    new_figure,
    plain_log_ticks,
)
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples

ESTIMATORS: dict[str, tuple[str, dict[str, object]]] = {
    "exact": ("brute_force", {}),
    "stepwise": ("stepwise", {}),
    "stepwise, 4 directions": ("stepwise", {"directions": 4}),
    "stepwise, 2 clusters": ("stepwise", {"clusters": 2}),
    "single step": ("flow_perturbation", {}),
    "trained backward scale": ("flow_perturbation", {"scale": 0.01}),
    "Hutchinson, Gaussian (biased)": ("hutchinson", {"probe": "gaussian"}),
    "Hutchinson, signs (biased)": ("hutchinson", {"probe": "rademacher"}),
    "Hutchinson, signs, corrected (biased)": ("hutchinson", {"corrected": True}),
}
BATCH = 250
PUBLISHED_EXCESS = {"stepwise": [0.211, 0.417], "single step": [8.64, 26.5]}
"""At D = 100 and 1000, arXiv 2601.21177."""
PUBLISHED_WEIGHT, ITS_ERROR = 0.256, 0.027
"""Of the well of a quarter at D = 1000, of the same source."""
MARKERS = "osD^hvPXp"
_ASIDE = 1.08
"""So far apart stand those of one dimension."""


class Sizes(NamedTuple):
    """Training steps, their batch, exact samples to train on, samples weighed, and weighed
    exactly.
    """

    steps: int
    batch: int
    training: int
    samples: int
    exact: int


TINY = Sizes(4, 20, 100, 20, 4)
USUAL = {10: Sizes(4000, 512, 20_000, 10_000, 1000), 100: Sizes(3000, 512, 20_000, 2000, 100)}
LARGE = Sizes(1500, 256, 20_000, 64, 2)


class Flows(NamedTuple):
    """Which velocity, and how its 20 steps are spaced."""

    velocity: str
    spacing: float


def trained(d: int, sizes: Sizes, seed: int, flows: Flows) -> tuple[ContinuousFlow, Base, float]:
    """A flow (float64), its base, and the seconds of its training."""
    target = get_potential("two_wells", dimension=d)
    base = Base(target.domain, 0.0, 0.45)
    x, _ = exact_samples(target, sizes.training, Stream(seed, "training", d))
    settings: dict[str, object] = {"steps": 20 if d > 4 else 2, **flows._asdict()}
    if flows.velocity == "mixture":
        settings["parameters"] = {"components": 2, "hidden": 0}
    box = spline_box(base, x)
    flow = build_map("continuous", settings, box, base, Stream(seed, "weights", d)).float()
    assert isinstance(flow, ContinuousFlow)
    if flow.components:
        started, held_out = time.perf_counter(), len(x) // 10
        x = x[Stream(seed, "order", d).permutation(len(x))]
        fit = x[held_out:], x[:held_out], flow.components, Stream(seed, "components", d)
        flow = flow.double()
        flow.start_at(fit_gaussians(*fit, lambda x: target.energy_and_gradient(x)[1]))
        return flow, base, time.perf_counter() - started
    fresh, batch = Stream(seed, "source", d), sizes.batch
    known = KnownSamples(x.float(), target.energy, torch.zeros(len(x)))
    sides = (
        FreshBatches(lambda: base.sample(batch, fresh, dtype=torch.float32), base.energy),
        ShuffledBatches(known, batch, Stream(seed, "reference", d)),
    )
    recipe = Recipe(steps=sizes.steps, batch=batch, learning_rate=4e-3, averaging=0.999)
    started = time.perf_counter()
    transport = Transport(*sides, base.energy, target.energy, 1.0, 1.0)
    train(flow, transport, get_loss("flow_matching"), recipe)
    seconds = time.perf_counter() - started
    return flow.double(), base, seconds


class Weighed(NamedTuple):
    """Samples [n, d], log weights by two independent sets of random numbers [2, n], seconds and
    passes a sample.
    """

    x: torch.Tensor
    log_w: torch.Tensor
    seconds: float
    passes: float


def weighed(
    flow: ContinuousFlow, path: AnnealingPath, z: torch.Tensor, stream: Callable[[int], Stream]
) -> Weighed:
    """What the estimator that ``flow`` has makes of base samples ``z``."""
    exact = flow.exact_factors
    batch = max(1, min(BATCH, 2_000_000 // z.shape[1] ** 2)) if exact else BATCH
    found, already, started = [], flow.evaluations, time.perf_counter()
    for repeat in range(1 if exact else 2):
        source = stream(repeat)
        parts = [
            generated([flow], path, part, source.normal(len(part), flow.normals))
            for part in torch.split(z, batch)
        ]
        found.append(Ensemble(*map(torch.cat, zip(*parts, strict=True))))
    n = len(z) * len(found)
    seconds = (time.perf_counter() - started) / n
    log_w = torch.stack([each.log_weights for each in found])
    return Weighed(found[0].x, log_w, seconds, (flow.evaluations - already) / n)


class Measured(NamedTuple):
    """Of an estimator in ``d`` dimensions."""

    label: str
    d: int
    seconds: float
    passes: float
    excess: float
    error: float
    weight: float
    weight_error: float


def study(d: int, sizes: Sizes, seed: int, flows: Flows) -> list[Measured]:
    """Train, weigh by every estimator, print a table."""
    target = get_potential("two_wells", dimension=d)
    flow, base, seconds = trained(d, sizes, seed, flows)
    path = AnnealingPath(base, target)
    measured, infinite, learnt = list[Measured](), list[str](), list[str]()
    print(f"\n{d} dimensions: trained in {seconds:.0f} s\n")
    headings = (
        *("weights", "passes a sample", "s a sample", "exact / this", "variance of log w"),
        *("beyond exact", "more in the small well", "ESS %", "weight of the small well"),
    )
    print("| " + " | ".join(headings) + " |\n" + "|---" * len(headings) + "|")
    drawn = base.sample(sizes.samples, Stream(seed, "samples", d))
    exact_seconds = math.nan
    for label, (kind, parameters) in ESTIMATORS.items():
        estimator = get_jacobian(kind, **parameters)
        estimator.prepare(int(flow.settings["steps"]), d)
        flow.jacobian = estimator
        few = 200 if estimator.moves else max(20, min(2 * d, 200))
        already, started = flow.learning_evaluations, time.perf_counter()
        flow.finish(base.sample(few, Stream(seed, "learn", d)), Stream(seed).normal)
        learning = flow.learning_evaluations - already, time.perf_counter() - started
        if estimator.learns:
            learnt.append(f"{label}: learning took {learning[0]:,} passes, {learning[1]:.3g} s")
        if estimator.infinite_variance:
            infinite.append(f"{label}: infinite at {estimator.infinite_variance:.0%} of samples")
        z = drawn[: sizes.exact] if kind == "brute_force" else drawn
        address = seed, label, d
        found = weighed(flow, path, z, lambda k, address=address: Stream(*address, k))  # type: ignore[misc]
        if kind == "brute_force":
            exact_seconds = found.seconds
        log_w = found.log_w[0]
        small = found.x[:, 0] < 0
        weights = torch.softmax(log_w, dim=0)
        share = float(weights[small].sum())
        error = float((weights * (small.double() - share)).norm())
        row = [label, f"{found.passes:,.0f}", f"{found.seconds:.3g}"]
        row += [f"{exact_seconds / found.seconds:.1f}", f"{float(log_w.var()):.3f}"]
        excess = uncertain = 0.0
        if len(found.log_w) == 2:
            each = 0.5 * (found.log_w[0] - found.log_w[1]).square()
            uncertain = float(each.std()) / math.sqrt(len(each))
            more = float(each[small].mean() - each[~small].mean())
            excess = float(each.mean())
            row += [f"{excess:.3f}({uncertain:.3f})", f"{more:+.3f}"]
        else:
            row += ["0", "0"]
        row += [f"{100 * effective_sample_size(log_w):.1f}", f"{share:.4f}({error:.4f})"]
        print("| " + " | ".join(row) + " |", flush=True)
        numbers = found.seconds, found.passes, excess, uncertain, share, error
        measured.append(Measured(label, d, *numbers))
    print("\n".join(["", *learnt, *infinite]))
    return measured


def draw(measured: list[Measured], file: Path) -> None:
    """Cost, variance and the weight of the small well against the dimension."""
    with look():
        figure = new_figure(FULL_WIDTH, 5.2)
        panels = figure.subplots(2, 2)
        seconds, passes, variance, weight = panels.flat
        for k, (label, (kind, _)) in enumerate(ESTIMATORS.items()):
            rows = [each for each in measured if each.label == label]
            d = [each.d for each in rows]
            drawn = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k], "linewidth": 0.8}
            seconds.plot(d, [each.seconds for each in rows], label=label, **drawn)
            passes.plot(d, [each.passes for each in rows], **drawn)
            shares = [each.weight for each in rows], [each.weight_error for each in rows]
            aside = [_ASIDE ** (k - len(ESTIMATORS) / 2) * each for each in d]
            weight.errorbar(aside, *shares, **{**drawn, "linestyle": "none"})
            if kind != "brute_force":
                excesses, errors = [each.excess for each in rows], [each.error for each in rows]
                variance.errorbar(d, excesses, errors, **drawn)
            if label in PUBLISHED_EXCESS:
                edge = {"markeredgecolor": drawn["color"]}
                variance.plot([100, 1000], PUBLISHED_EXCESS[label], **{**PUBLISHED, **edge})
        at = 1000 * _ASIDE ** len(ESTIMATORS)
        weight.errorbar([at], [PUBLISHED_WEIGHT], [ITS_ERROR], ecolor="black", **PUBLISHED)
        weight.axhline(0.25, color=GREY, linewidth=0.6, linestyle="--")
        for ax, label in (
            (seconds, "seconds a weighted sample"),
            (passes, "passes a weighted sample"),
            (variance, "variance of log w beyond exact (kT²)"),
            (weight, "weight of the well of .25"),
        ):
            ax.set(xscale="log", xlabel="dimension", ylabel=label)
            plain_log_ticks(ax.xaxis)
            if ax is not weight:
                ax.set_yscale("log")
                plain_log_ticks(ax.yaxis)
        variance.set_title("stars: published, for flows of their own")
        figure.legend(loc="outside upper center", ncols=3)
        figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimensions", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exact", type=int, help="samples of exact weights")
    parser.add_argument("--samples", type=int, help="samples of all others")
    parser.add_argument("--steps", type=int, help="of training")
    parser.add_argument("--velocity", choices=["gated", "mixture"], default="gated")
    parser.add_argument("--spacing", type=float, default=1.0, help="of steps, as of `network`")
    parser.add_argument("--figure", type=Path, help="an SVG file")
    parser.add_argument("--tiny", action="store_true", help="a try: what it measures means nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    measured: list[Measured] = []
    for d in [4] if given.tiny else given.dimensions:
        sizes = TINY if given.tiny else USUAL.get(d, LARGE)
        changed = {key: getattr(given, key) for key in ("exact", "samples", "steps")}
        sizes = sizes._replace(**{key: value for key, value in changed.items() if value})
        measured += study(d, sizes, given.seed, Flows(given.velocity, given.spacing))
    if given.figure:
        draw(measured, given.figure)


if __name__ == "__main__":
    main()
