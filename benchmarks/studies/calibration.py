"""Do 95 % intervals hold the exact value in 95 % of repeats? The table of docs/calibration.md.

    python benchmarks/studies/calibration.py [--repeats 500] [--only flow,ensemble] [--tiny]

Each case repeats an estimate with fresh samples (one trained flow serves all repeats of a case) and
counts the intervals ``estimate +- t(.975, dof) stderr`` that were printed and those that hold the
exact value; a limit of an unseen event counts as an interval. A cell is good between 92.5 and
97.5 % within 2.5 binomial errors; one outside is repeated with 2,000 fresh repeats and must then
lie between 94 and 96 % (the upper bound does not bind events). What is under a grave doubt is
exempt, and marked so.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from scipy.signal import lfilter
from scipy.stats import norm

from jeffreysflow.distillation.ensemble import Ensemble, effective_sample_size, resampled
from jeffreysflow.distillation.extended import generated
from jeffreysflow.distillation.level import distill_level
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parts import Reference
from jeffreysflow.distillation.pushing import base_ensemble, pushed
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import (
    Estimates,
    from_groups,
    from_independent,
    from_series,
    jackknifed,
)
from jeffreysflow.estimation.observables import observable_values, parse_observables
from jeffreysflow.estimation.pareto import LargestWeights, warnings_about
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.estimation.student import half_width
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.evidence import bennett, chained
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.ladder import starting_ladder
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.truth.lattice_means import lattice_means
from jeffreysflow.truth.sampling import GridSampler

BOX = [(-4.0, 4.0)] * 2
OBSERVABLES = ["sin(x1)", "x1**2", "x1*x2", "x1 < 0", "x1 > 1.4"]


@dataclass(frozen=True)
class Interval:
    """One estimate of a repeat; ``hit`` None where nothing was printed, ``grave`` where it was
    printed under a grave doubt.
    """

    quantity: str
    hit: bool | None
    event: bool = False
    grave: bool = False


@dataclass(frozen=True)
class Case:
    """``repeat(i)`` gives all intervals of repeat i."""

    name: str
    repeat: Callable[[int], list[Interval]]


class Problem:
    """three_well with exact values, and exact samples to train on."""

    def __init__(self, points: int = 1024) -> None:
        self.target = get_potential("three_well")
        self.base = Base(self.target.domain)
        self.path = AnnealingPath(self.base, self.target)
        self.observables = parse_observables(OBSERVABLES, 2)
        exact = lattice_means(self.target, self.values, BOX, points)
        self.log_z, self.exact = exact.log_Z, exact.means.tolist()
        self.reference = GridSampler(self.target, BOX, points).sample(20_000, Stream(99, "exact"))

    def values(self, x: torch.Tensor, U: torch.Tensor | None = None) -> torch.Tensor:
        """Observables [n, J]."""
        return observable_values(self.observables, x, self.target.energy(x) if U is None else U)

    def intervals(self, found: Estimates, grave: bool = False) -> list[Interval]:
        """Of all observables, limits included."""
        rows = []
        columns = (column.tolist() for column in found.columns)
        for of, exact, mean, error, dof, _, limit in zip(
            self.observables, self.exact, *columns, strict=True
        ):
            hit = None
            if not math.isnan(error):
                hit = abs(mean - exact) < half_width(error, dof)
            elif not math.isnan(limit):
                hit = exact < limit if mean < 0.5 else exact > limit
            rows.append(Interval(of.name, hit, bool(of.is_event), grave))
        return rows


def scalar(name: str, value: float, error: float, dof: float, exact: float) -> Interval:
    hit = None if math.isnan(error) else abs(value - exact) < half_width(error, dof)
    return Interval(name, hit)


def is_grave(sums: WeightedSums, log_weights: torch.Tensor) -> bool:
    largest = LargestWeights(len(log_weights))
    largest.add(log_weights)
    return any(grave for _, grave in warnings_about(sums, largest))


def trained(problem: Problem, steps: int, theta: float) -> SplineFlow:
    recipe = Recipe(steps=steps, batch=500)
    network = {"hidden": (32, 32)}
    settings = LevelSettings(0.0, 1.0, JeffreysLoss(theta, 1.0), recipe, network=network)
    result = distill_level(
        problem.path,
        settings,
        None,
        _reference(problem.reference),
        lambda purpose: Stream(1, "calibration", steps, purpose),
    )
    return result.flow


def _reference(x: torch.Tensor) -> Reference:
    return Reference(x[: len(x) * 19 // 20], x[len(x) * 19 // 20 :])


def flow_cases(problem: Problem, samples: int) -> Iterator[Case]:
    """Fresh samples of flows from bad to good."""
    flows = {
        "base alone": SplineFlow([-8.0] * 2, [8.0] * 2, [1.0] * 2, [False] * 2, (), 2, (4, 4), 8)
    }
    flows["base alone"].to(torch.float64)
    for steps in (30,) if samples < 10_000 else (30, 80, 250):
        flows[f"{steps} steps"] = trained(problem, steps, 0.0)
    for name, flow in flows.items():
        z = problem.base.sample(10 * samples, Stream(2, name))
        ess = effective_sample_size(generated([flow], problem.path, z, z[:, :0]).log_weights)

        def repeat(i: int, flow: SplineFlow = flow, name: str = name) -> list[Interval]:
            z = problem.base.sample(samples, Stream(3, "flow", name, i))
            batch = generated([flow], problem.path, z, z[:, :0])
            U = batch.U_0 + batch.V
            sums = WeightedSums.of(batch.log_weights, problem.values(batch.x, U))
            log_z = scalar("log Z", sums.log_z, sums.log_z_error, sums.log_z_dof, problem.log_z)
            grave = is_grave(sums, batch.log_weights)
            rows = [*problem.intervals(from_independent(sums)), log_z]
            return [Interval(r.quantity, r.hit, r.event, grave) for r in rows]

        yield Case(f"flow, {name}, ESS {ess:.0%}, {samples:,} samples", repeat)


def sobol_cases(problem: Problem, samples: int) -> Iterator[Case]:
    """Scrambled Sobol groups."""
    flow = trained(problem, 80, 0.0)
    for scramblings in (8, 16, 32):

        def repeat(i: int, scramblings: int = scramblings) -> list[Interval]:
            groups = []
            for r in range(scramblings):
                each = samples // 32
                points = sobol_base_points(problem.base, each, each, 4, "sobol", scramblings, i, r)
                z = next(points)
                batch = generated([flow], problem.path, z, z[:, :0])
                values = problem.values(batch.x, batch.U_0 + batch.V)
                groups.append(WeightedSums.of(batch.log_weights, values))
            rows = problem.intervals(from_groups(groups))
            return [*rows, of_log_z(groups, problem.log_z)]

        yield Case(f"Sobol, {scramblings} scramblings of {samples // 32}", repeat)


def of_log_z(groups: Sequence[WeightedSums], exact: float) -> Interval:
    error, dof = jackknifed(groups, lambda part: torch.tensor([part.log_z]))
    return scalar("log Z", combined(groups).log_z, float(error), float(dof), exact)


def ensemble_cases(problem: Problem, samples: int) -> Iterator[Case]:
    """The ensemble of a sequence of three flows, resampled in islands and moved."""
    ladder = (0.0, 0.1, 0.4, 1.0)
    kernel, flows = get_kernel("mala"), []
    for level, (low, high) in enumerate(pairwise(ladder), start=1):
        reference = GridSampler(_At(problem.path, high), BOX, 512).sample(5000, Stream(5, level))
        settings = LevelSettings(
            low,
            high,
            JeffreysLoss(0.0, 1.0),
            Recipe(steps=min(40, samples // 100), batch=500),
            network={"layers": 4, "hidden": (16, 16), "bins": 8},
        )
        below = None if level == 1 else _exact_ensemble(problem, low, level)
        stream = _streams(level)
        flows.append(
            distill_level(problem.path, settings, below, _reference(reference), stream).flow
        )
    for islands, resample_below in ((10, 1.0), (20, 1.0), (20, 0.0)):

        def repeat(
            i: int, islands: int = islands, resample_below: float = resample_below
        ) -> list[Interval]:
            stream = Stream(6, "ensemble", islands, int(resample_below), i)
            ensemble = base_ensemble(problem.path, samples, stream)
            for flow, (low, high) in zip(flows, pairwise(ladder), strict=True):
                ensemble, _ = pushed(flow, problem.path, low, high, ensemble, samples)
                if effective_sample_size(ensemble.log_weights) < resample_below:
                    ensemble = resampled(ensemble, samples, stream, islands)
                ensemble, _ = rejuvenated(ensemble, problem.path, high, kernel, 3, samples, stream)
            groups = [
                WeightedSums.of(part.log_weights, problem.values(part.x, part.U_0 + part.V))
                for part in _parts(ensemble, islands)
            ]
            rows = problem.intervals(from_groups(groups, copies=True))
            return [*rows, of_log_z(groups, problem.log_z)]

        how = "resampled at every level" if resample_below else "never resampled"
        yield Case(f"ensemble, {islands} islands of {samples // islands}, {how}", repeat)


def _streams(level: int) -> Callable[[str], Stream]:
    return lambda purpose: Stream(5, "ensemble", level, purpose)


def _parts(ensemble: Ensemble, islands: int) -> Iterator[Ensemble]:
    each = len(ensemble.x) // islands
    return (ensemble.rows(slice(i * each, (i + 1) * each)) for i in range(islands))


def _exact_ensemble(problem: Problem, lam: float, level: int) -> Ensemble:
    x = GridSampler(_At(problem.path, lam), BOX, 512).sample(4000, Stream(5, "below", level))
    U_0, V = problem.path.energies(x)
    return Ensemble(x, torch.zeros_like(U_0), U_0, V)


class _At:
    """The target at one lambda, as ``GridSampler`` asks for it."""

    def __init__(self, path: AnnealingPath, lam: float) -> None:
        self.domain, self._path, self._lam = path.domain, path, lam

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._path.energy(x, self._lam)


def series_cases() -> Iterator[Case]:
    """Autoregressive walkers of known autocorrelation time, as a stand-in for tempering."""
    for walkers in (1, 4, 100):
        for tau in (5, 40, 400):
            for times in (20, 60, 100, 300):
                draws = times * tau // walkers
                if draws < 10:
                    continue

                def repeat(
                    i: int, draws: int = draws, walkers: int = walkers, tau: int = tau
                ) -> list[Interval]:
                    rho = (tau - 1) / (tau + 1)
                    noise = Stream(7, draws, walkers, tau, i).normal(draws, walkers).numpy()
                    noise[1:] *= math.sqrt(1 - rho**2)
                    x = torch.from_numpy(lfilter([1.0], [1.0, -rho], noise, axis=0).copy())
                    values = torch.stack([x, x.exp(), (x > 1.5).double()], dim=2)
                    found = from_series(values)
                    exact = (0.0, math.exp(0.5), float(norm.sf(1.5)))
                    rows = []
                    for j, name in enumerate(("x", "exp x", "x > 1.5")):
                        mean, error, dof, _, limit = (float(c[j]) for c in found.columns)
                        hit = None
                        if not math.isnan(error):
                            hit = abs(mean - exact[j]) < half_width(error, dof)
                        elif not math.isnan(limit):
                            hit = exact[j] < limit
                        rows.append(Interval(name, hit, j == 2))
                    return rows

                yield Case(f"series, {walkers} walkers, tau {tau}, {times} tau in all", repeat)


def tempering_cases(problem: Problem, at_once: int, shorter: int = 1) -> Iterator[Case]:
    """Replica exchange itself, recorded densely, so that draws are correlated. Walkers know nothing
    of each other where nothing adapts, so those of ``at_once`` repeats run side by side.
    """
    for walkers, rounds in ((1, 3000 // shorter), (4, 800 // shorter), (100, 40)):
        settings = TemperingSettings(
            ladder=starting_ladder(4),
            walkers=walkers * at_once,
            rounds=rounds,
            warmup_rounds=40,
            local_steps=1,
            step_size=0.03,
            adapt_step_size=False,
        )

        @functools.lru_cache(maxsize=1)
        def runs(number: int, settings: TemperingSettings = settings) -> MemoryArchive:
            address = ("calibration", str(settings.walkers))
            run = replace(settings, seed=number, address=address)
            archive = MemoryArchive(run, 2)
            Engine(problem.path, problem.base, get_kernel("mala"), run).run(archive)
            return archive

        def repeat(
            i: int,
            walkers: int = walkers,
            settings: TemperingSettings = settings,
            runs: Callable[[int], MemoryArchive] = runs,
        ) -> list[Interval]:
            draws, first = runs(i // at_once).draws, i % at_once * walkers
            mine = slice(first, first + walkers)
            level = torch.from_numpy(draws.level[..., mine].astype("int64"))
            order = level.argsort(dim=1)
            x = torch.from_numpy(draws.x[:, :, mine]).take_along_dim(order[..., None], dim=1)
            V = torch.from_numpy(draws.V[..., mine]).take_along_dim(order, dim=1)
            steps = [b - a for a, b in pairwise(settings.ladder)]
            terms = [bennett(V[:, k], V[:, k + 1], step) for k, step in enumerate(steps)]
            log_z = chained(terms)
            last = x[:, -1]
            values = problem.values(last.reshape(-1, 2)).reshape(*last.shape[:2], -1)
            rows = problem.intervals(from_series(values))
            return [*rows, scalar("log Z", log_z.value, log_z.error, log_z.dof, problem.log_z)]

        yield Case(f"tempering, {walkers} walkers of {rounds} draws", repeat)


@dataclass
class Cell:
    printed: int = 0
    hits: int = 0
    event: bool = False
    graves: int = 0

    def good(self, low: float, high: float, errors: float) -> bool:
        """Whether the coverage lies within ``errors`` binomial standard errors of [low, high]."""
        if self.printed == 0:
            return True
        share = self.hits / self.printed
        slack = errors * math.sqrt(0.05 * 0.95 / self.printed)
        return share >= low - slack and (self.event or share <= high + slack)


def measured(case: Case, repeats: range) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for i in repeats:
        for row in case.repeat(i):
            cell = cells.setdefault(row.quantity, Cell(event=row.event))
            if row.hit is not None:
                cell.printed += 1
                cell.hits += row.hit
                cell.graves += row.grave
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--fresh", type=int, default=2000, help="repeats of a cell that is outside")
    parser.add_argument("--only", default="flow,sobol,ensemble,series,tempering")
    parser.add_argument("--tiny", action="store_true", help="a few repeats, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    problem, repeats = (
        Problem(256 if options.tiny else 1024),
        2 if options.tiny else options.repeats,
    )
    kinds: dict[str, Callable[[], Iterator[Case]]] = {
        "flow": lambda: flow_cases(problem, 1000 if options.tiny else 10_000),
        "sobol": lambda: sobol_cases(problem, 2**12 if options.tiny else 2**14),
        "ensemble": lambda: ensemble_cases(problem, 400 if options.tiny else 4000),
        "series": series_cases,
        "tempering": lambda: tempering_cases(problem, *((2, 20) if options.tiny else (500,))),
    }
    print("| case | quantity | printed | coverage % | |\n|---|---|---|---|---|")
    outside = 0
    for kind in options.only.split(","):
        for case in kinds[kind]():
            started = time.time()
            fresh: dict[str, Cell] = {}
            for quantity, cell in measured(case, range(repeats)).items():
                remark = ""
                exempt = options.tiny or cell.graves > cell.printed / 2
                if not exempt and not cell.good(0.925, 0.975, 2.5):
                    again = range(repeats, repeats + options.fresh)
                    fresh = fresh or measured(case, again)
                    found = fresh[quantity] if fresh else Cell()
                    ok = found.printed > 0 and found.good(0.94, 0.96, 0.0)
                    outside += not ok
                    share = 100 * found.hits / max(found.printed, 1)
                    remark = f"{found.printed} fresh: {share:.1f}" + ("" if ok else ", OUTSIDE")
                if cell.graves:
                    remark += f" grave doubt in {cell.graves}"
                share = f"{100 * cell.hits / cell.printed:.1f}" if cell.printed else "-"
                numbers = f"{cell.printed} of {repeats} | {share}"
                print(f"| {case.name} | {quantity} | {numbers} | {remark} |", flush=True)
            print(f"<!-- {case.name}: {time.time() - started:.0f} s -->", flush=True)
    print(f"\n{outside} cells outside")


if __name__ == "__main__":
    main()
