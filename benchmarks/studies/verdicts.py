"""Does "trusted" mean it? Verdicts over many runs, where they must appear and where they must not.

    python benchmarks/studies/verdicts.py [kind ...] [--runs 150] [--seeds 20]

alarms  false alarms: five problems, good references and flows, `--seeds` of each
heavy   weights of tail index 1.05, 1.1, 1.2, alone or mixed into nearly equal ones; bounded ones
lost    a flow that lost a mode, beside a sound reference
nan     a target with a region of NaN
drift   a reference not in equilibrium

All but `heavy`, which asks the weights alone, run the stages themselves in a temporary folder and
read what `estimates.csv` says of each source. Sizes are fixed here; `--tiny` runs one of each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.parts import Reference
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.pareto import LargestWeights, warnings_about
from jeffreysflow.stages import distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream

REFERENCE: dict[str, Any] = {
    "kernel": {"name": "mala", "step_size": 0.05},
    "ladder": {"kind": "adaptive", "levels": 6},
    "walkers": 400,
    "warmup_rounds": 400,
    "rounds": 1000,
    "thin": 20,
    "local_steps": 4,
}
FLOW: dict[str, Any] = {
    "reference": "r",
    "renyi": 1,
    "network": {"layers": 6, "hidden": 48},
    "training": {"steps": 500, "batch": 500},
    "ensemble": 4000,
}
PROBLEMS: dict[str, dict[str, Any]] = {
    "three_well": {"base": {"sd": 1.0}, "box": 4, "theta": 0.5},
    "himmelblau": {"base": {"sd": 2.0}, "box": 6, "theta": 0.5},
    "annulus": {"base": {"sd": 1.0}, "box": 4, "theta": 0.5},
    "multi_well": {"base": {"sd": 2.2}, "box": 7, "theta": 0.5},
    "periodic_well": {"base": {}, "box": None, "theta": 0.5},
}
OBSERVABLES = ["sin(x1)", "cos(x1)", "sin(x2)", "cos(x2)", "x1 < 0"]


FEW: dict[str, Any] = {"walkers": 16, "warmup_rounds": 32, "rounds": 100, "thin": 2}
TINY_FLOW: dict[str, Any] = {
    "network": {"layers": 2, "hidden": 4, "bins": 4},
    "training": {"steps": 4, "batch": 100},
    "ensemble": 400,
}
"""What takes the place of sizes with `--tiny`."""


def experiment(seed: int, name: str, **sections: Any) -> Experiment:
    return Experiment.model_validate(
        {"name": name, "title": name, "scale": "benchmark", "seed": seed, **sections}
    )


def quietly(stage: Callable[..., None], *arguments: Any) -> str:
    """Run a stage; what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        stage(*arguments)
    return out.getvalue()


def rows(file: Path) -> dict[str, EstimateRow]:
    return {row.quantity: row for row in read_table(file, EstimateRow)}


def reference_of(layout: Layout, e: Experiment) -> tuple[dict[str, EstimateRow], str]:
    quietly(temper.run, layout, e, "r")
    quietly(gather.run, layout, e, "r")
    quietly(truth.run, layout, e)
    said = quietly(estimate.run_reference, layout, e, "r")
    return rows(layout.reference("r").estimates), said


def flow_of(layout: Layout, e: Experiment) -> tuple[dict[str, EstimateRow], str]:
    quietly(distill.run, layout, e, "f", 1)
    quietly(generate.run, layout, e, "f")
    said = quietly(estimate.run_flow, layout, e, "f")
    return rows(layout.flow("f").estimates), said


def alarms(seeds: int, tiny: bool) -> None:
    """Pages of good references and good flows that carry a grave doubt all the same."""
    print("| problem | pages | grave | ESS, least | R-hat, most | what was said |")
    print("|---|---|---|---|---|---|")
    total = graves = 0
    for name, problem in list(PROBLEMS.items())[: 1 if tiny else None]:
        said: Counter[str] = Counter()
        least, most, grave_here = 1.0, 0.0, 0
        for seed in range(1, seeds + 1):
            box = problem["box"]
            sections: dict[str, Any] = {
                "potential": {"name": name},
                "base": problem["base"],
                "observables": OBSERVABLES,
                "truth": {
                    "points": 64 if tiny else 512,
                    **({} if box is None else {"box": [[-box, box]] * 2}),
                },
                "references": {"r": REFERENCE | (FEW if tiny else {})},
                "flows": {"f": FLOW | {"theta": problem["theta"]} | (TINY_FLOW if tiny else {})},
                "generation": {"samples": 2000 if tiny else 100_000},
            }
            e = experiment(seed, name, **sections)
            with tempfile.TemporaryDirectory() as folder:
                layout = Layout(Path(folder), name)
                reference, of_reference = reference_of(layout, e)
                flow, of_flow = flow_of(layout, e)
                diagnostics = (layout.reference("r").diagnostics).read_text().splitlines()
            rhat = max(
                float(line.split(",")[5])
                for line in diagnostics
                if ",rhat," in line and line.split(",")[5]
            )
            trusted = reference["trusted"].value == 1.0 and flow["trusted"].value == 1.0
            least, most = min(least, flow["ess"].value), max(most, rhat)
            total, graves, grave_here = (
                total + 1,
                graves + (not trusted),
                grave_here + (not trusted),
            )
            if not trusted:
                for line in (of_reference + of_flow).splitlines():
                    said[line.split(": ", 1)[1][:60]] += 1
        print(
            f"| {name} | {seeds} | {grave_here} | {least:.1%} | {most:.3f} | {dict(said)} |",
            flush=True,
        )
    print(f"\n{graves} of {total} pages carry a grave doubt")


def heavy(runs: int, tiny: bool) -> None:
    """Weights of a heavy tail alone, and mixed into nearly equal ones."""
    n = 100_000
    print("| weights | runs | trusted | log Z off, median errors |\n|---|---|---|---|")
    for index in (1.05, 1.1, 1.2):
        for share in (1.0,) if tiny else (1.0, 1e-2, 1e-3):
            trusted, off = 0, []
            for run in range(runs):
                stream = Stream(1, "heavy", int(100 * index), str(share), run)
                pareto = (1 - stream.uniform(n)) ** (-1 / index)
                chosen = stream.uniform(n) < share
                log_weights = 0.05 * stream.normal(n) + torch.where(chosen, pareto.log(), 0.0)
                mean = 1 - share + share * index / (index - 1)
                exact = math.log(mean) + 0.05**2 / 2
                sums = WeightedSums.of(log_weights, torch.zeros(n, 0))
                off.append((sums.log_z - exact) / sums.log_z_error)
                trusted += not is_grave(sums, log_weights)
            middle = float(torch.tensor(off).median())
            text = "alone" if share == 1 else f"{share:.1%} among nearly equal ones"
            print(f"| index {index}, {text} | {runs} | {trusted} | {middle:+.1f} |", flush=True)
    for share in (1e-2, 1e-3, 1e-4):
        trusted = 0
        for run in range(runs):
            stream = Stream(1, "bounded", str(share), run)
            larger = torch.where(stream.uniform(n) < share, 2 + 3 * stream.uniform(n), 1.0)
            log_weights = 0.05 * stream.normal(n) + larger.log()
            trusted += not is_grave(WeightedSums.of(log_weights, torch.zeros(n, 0)), log_weights)
        print(f"| bounded by 5, {share:.2%} of them large | {runs} | {trusted} | - |", flush=True)


def is_grave(sums: WeightedSums, log_weights: torch.Tensor) -> bool:
    """What the page says of weights alone."""
    largest = LargestWeights(sums.n)
    largest.add(log_weights)
    return any(grave for _, grave in warnings_about(sums, largest))


TWO_WELLS = """
import math, torch
dimension = 2
def energy(x):
    a = ((x[:, 0] + 2) ** 2 + x[:, 1] ** 2) / 0.3
    b = ((x[:, 0] - 2) ** 2 + x[:, 1] ** 2) / 0.3 - math.log(SHARE)
    return -torch.logsumexp(torch.stack([-a, -b]), dim=0)
"""
NAN_REGION = """
import torch
dimension = 2
def energy(x):
    u = ((x[:, 0] - 2) ** 2 + x[:, 1] ** 2) / 2
    return u + 0 * torch.sqrt(3 - x[:, 0])
"""
MANY_WELLS = """
import torch
dimension = 16
def energy(x):
    a, b = x[:, ::2], x[:, 1::2]
    return (-0.5 * a - 6 * a**2 + a**4 + b**2 / 2).sum(dim=-1)
"""
SMALL: dict[str, Any] = {
    "kernel": {"name": "mala", "step_size": 0.05},
    "ladder": {"kind": "adaptive", "levels": 5},
    "walkers": 64,
    "warmup_rounds": 128,
    "rounds": 200,
    "thin": 4,
    "local_steps": 4,
}


def lost(runs: int, tiny: bool) -> None:
    """The flow is trained on the left well alone (its reference is replaced for the training)."""
    print("| the right well has | witness | runs | flow trusted | reference trusted |")
    print("|---|---|---|---|---|")
    for share in (0.5,) if tiny else (0.5, 0.05):
        kinds = ("exact value", "observable of the reference", "samples of the reference")
        for kind in kinds[: 1 if tiny else None]:
            trusted = reference_trusted = 0
            for run in range(runs):
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "wells.py"
                    file.write_text(TWO_WELLS.replace("SHARE", str(share / (1 - share))))
                    seen = kind == "samples of the reference"
                    sections: dict[str, Any] = {
                        "potential": {"file": str(file)},
                        "base": {"sd": 1.5},
                        "observables": ["x2"] if seen else ["x1 > 0", "x2"],
                        "references": {"r": SMALL | (FEW if tiny else {})},
                        "flows": {
                            "f": {
                                "reference": "r",
                                "theta": 0,
                                "renyi": 1,
                                "network": {"layers": 4, "hidden": 16, "bins": 8},
                                "training": {"steps": 150, "batch": 250},
                                "ensemble": 4000,
                                **(TINY_FLOW if tiny else {}),
                            }
                        },
                        "generation": {"samples": 2000 if tiny else 20_000},
                    }
                    if kind == "exact value":
                        sections["truth"] = {
                            "box": [[-5, 5], [-4, 4]],
                            "points": 64 if tiny else 256,
                        }
                    e = experiment(run + 1, "wells", **sections)
                    layout = Layout(Path(folder), "wells")
                    reference, _ = reference_of(layout, e)
                    with left_only():
                        flow, _ = flow_of(layout, e)
                trusted += flow["trusted"].value == 1.0
                reference_trusted += reference["trusted"].value == 1.0
            print(
                f"| {share:.0%} | {kind} | {runs} | {trusted} | {reference_trusted} |", flush=True
            )


@contextlib.contextmanager
def left_only() -> Iterator[None]:
    """While a flow is trained, its reference has no samples in the right well."""
    whole = distill.of_walkers

    def half(x: torch.Tensor, walkers: int, U: torch.Tensor | None = None) -> Reference:
        return Reference(*(part[part[:, 0] < 0] for part in whole(x, walkers)[:2]))

    distill.of_walkers = half
    try:
        yield
    finally:
        distill.of_walkers = whole


def nan(runs: int, tiny: bool) -> None:
    """Energies that are NaN where a sixth of the mass is."""
    trusted, flows, stopped, named = 0, 0, 0, 0
    for run in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "region.py"
            file.write_text(NAN_REGION)
            e = experiment(
                run + 1,
                "region",
                potential={"file": str(file)},
                base={"sd": 0.6},
                observables=["x1", "x2"],
                references={"r": SMALL | (FEW if tiny else {})},
                flows={
                    "f": FLOW
                    | {"theta": 0.5, "training": {"steps": 40, "batch": 200}}
                    | (TINY_FLOW if tiny else {})
                },
                generation={"samples": 2000 if tiny else 10_000},
            )
            layout = Layout(Path(folder), "region")
            try:
                reference, said = reference_of(layout, e)
            except Exception as error:
                stopped += 1
                named += "nan" in str(error).lower() or "not a number" in str(error)
                continue
            trusted += reference["trusted"].value == 1.0
            named += "not a number" in said
            try:
                flow, _ = flow_of(layout, e)
            except Exception:
                stopped += 1
                continue
            flows += flow["trusted"].value == 1.0
    print("| NaN beyond x1 = 3 | runs | reference trusted | flow trusted | stopped | named |")
    print("|---|---|---|---|---|---|")
    print(f"| | {runs} | {trusted} | {flows} | {stopped} | {named} |", flush=True)


def drift(runs: int, tiny: bool) -> None:
    """Eight double wells at once, with hardly any warm-up; and with enough of it."""
    print("| warm-up rounds | runs | reference trusted |\n|---|---|---|")
    for warmup in (8,) if tiny else (8, 1000):
        good = warmup > 8
        trusted = 0
        for run in range(max(runs // (15 if good else 1), 1)):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "many.py"
                file.write_text(MANY_WELLS)
                reference = SMALL | {
                    "warmup_rounds": warmup,
                    "walkers": 128,
                    # long enough for the walkers to agree, where they can
                    "rounds": 2000 if good else 120,
                    "thin": 40 if good else 4,
                    "kernel": {"name": "mala", "step_size": 0.01, "adapt": good},
                    "ladder": {"kind": "geometric", "first": 0.05, "levels": 6},
                    "local_steps": 2,
                    **({"walkers": 16} if tiny else {}),
                }
                e = experiment(
                    run + 1,
                    "many",
                    potential={"file": str(file)},
                    base={"sd": 1.2},
                    observables=["U", *(f"x{i} > 0" for i in range(1, 16, 2))],
                    references={"r": reference},
                    flows={"f": FLOW},
                )
                found, _ = reference_of(Layout(Path(folder), "many"), e)
            trusted += found["trusted"].value == 1.0
        print(f"| {warmup} | {run + 1} | {trusted} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = {"alarms": alarms, "heavy": heavy, "lost": lost, "nan": nan, "drift": drift}
    parser.add_argument("kinds", nargs="*", default=list(kinds))
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="one run of each, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in options.kinds:
        if name not in kinds:
            parser.error(f"unknown kind '{name}'; allowed: {', '.join(kinds)}")
        started = time.time()
        many = options.seeds if name == "alarms" else options.runs
        kinds[name](1 if options.tiny else many, options.tiny)
        print(f"<!-- {name}: {time.time() - started:.0f} s -->\n", flush=True)


if __name__ == "__main__":
    main()
