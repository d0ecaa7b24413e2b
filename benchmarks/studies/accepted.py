"""Does whatever is accepted also run? Counts for docs/robustness.md.

    python benchmarks/studies/accepted.py [--configurations 60] [--tiny]

Two small experiments are changed at random, in one to six places: other numbers, other choices,
sections that come and go. What the checks accept runs to the end, stage by stage. Each ends with
its report, or is refused by a stage in one line; a traceback or a stage of more than three minutes
counts against us.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from _small_run import (
    SMALL_EXPERIMENTS,
    TINY_EXPERIMENTS,
    in_process,
    run_units,
    units,
    write_configs,
)

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.config.size import size_of
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment

PATIENCE = 180
MOST_EVALUATIONS = 3e6

CHOICES: dict[str, list[Any]] = {
    "name": ["mala", "hmc", "ula", "heun", "tamed", "three_well", "himmelblau", "annulus"],
    "swap": ["deo", "seo"],
    "path": ["annealed", "power"],
    "levels": ["last", "all", 2, 3, 7],
    "theta": [0, 0.25, 1, "auto"],
    "renyi": [1, 1.5, 2, "auto"],
    "precision": ["float32", "float64"],
    "base_points": ["iid", "sobol"],
    "rejuvenation_kernel": ["mala", "hmc"],
    "scaling": ["constant", "inverse"],
    "adapt": [True, False],
    "generate": [True, False, None],
    "high": ["zero", "curvature"],
    "added_modes": ["plain", "curvature"],
    "method": ["quadrature", "exact_map"],
    "kind": ["fixed", "geometric", "adaptive", "suggested", "pmf", "density"],
    "expression": ["x1", "x2", "U", "sin(x1)", "x1 < 0"],
}
SECTIONS: list[tuple[str, Any]] = [
    ("truth", None),
    ("profiles", []),
    ("observables", ["U", "x1**2 + x1", "x1 < -100", "exp(x1)"]),
    ("base", {"sd": 3.0}),
    ("base", {"sd": 1.5, "tails": 3}),
    ("views", [["x1", "x2"]]),
    ("profiles", [{"expression": "x1", "lower": 50, "upper": 60, "bins": 3}]),
]
NUMBERS = [0, 1, 2, 3, 5, 8, 17, 64, 0.0, 1e-6, 0.1, 0.5, 0.999, 1.0, 2.5, 10.0, 100.0]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    if isinstance(value, dict | list):
        for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from places(part)


def changed(draw: random.Random, of: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of some experiments, with one to six changes."""
    content = copy.deepcopy(draw.choice(of))
    for _ in range(draw.randint(1, 6)):
        if draw.random() < 0.2:
            key, value = draw.choice(SECTIONS)
            content[key] = copy.deepcopy(value)
            continue
        container, key = draw.choice(list(places(content)))
        value = container[key]
        if key in CHOICES:
            container[key] = draw.choice(CHOICES[key])
        elif isinstance(value, bool):
            container[key] = not value
        elif isinstance(value, int | float):
            close = [type(value)(value * draw.choice([0.5, 2, 3])), draw.choice(NUMBERS)]
            container[key] = draw.choice(close)
        elif isinstance(value, dict) and draw.random() < 0.3:
            wanted = draw.choice(sorted(CHOICES))
            container[key][wanted] = draw.choice(CHOICES[wanted])
        elif draw.random() < 0.2:
            del container[key]
    content["name"], content["title"] = "mine", "Mine"
    return content


def accepted(draw: random.Random, of: Sequence[dict[str, Any]], counts: Counter[str]) -> Experiment:
    """The next one that all checks before any work accept."""
    while True:
        content = {**changed(draw, of), "scale": "smoke", "seed": draw.randrange(100)}
        try:
            experiment = validated(Experiment, content, "mine.yaml")
            if size_of(experiment).evaluations > MOST_EVALUATIONS:
                counts["too large for this study"] += 1
                continue
            check_experiment(experiment)
        except UserError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
            counts["refused before any work"] += 1
            continue
        return experiment


def too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"a stage of more than {PATIENCE} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="one change of a tiny experiment")
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, too_long)
    draw, started = random.Random(options.seed), time.time()
    counts: Counter[str] = Counter()
    failed, refusals = [], []

    def timed(unit: Any) -> tuple[int, str]:
        signal.alarm(PATIENCE)
        try:
            return in_process(unit)
        finally:
            signal.alarm(0)

    count = 1 if options.tiny else options.configurations
    of = TINY_EXPERIMENTS if options.tiny else SMALL_EXPERIMENTS
    for number in range(count):
        experiment = accepted(draw, of, counts)
        with tempfile.TemporaryDirectory() as place:
            results = Path(place) / "results"
            write_configs(results, [experiment])
            try:
                done, said = run_units(units(results, [experiment]), timed)
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                failed.append(f"{number}: {text} in {Path(where.filename).name}:{where.lineno}")
                counts["traceback or too long"] += 1
                print(failed[-1], file=sys.stderr)
                text = experiment.model_dump_json(exclude_defaults=True)
                print(text, file=sys.stderr, flush=True)
                continue
        last = said.splitlines()[-1] if said else ""
        counts["ran to the end" if done else "refused by a stage in one line"] += 1
        if not done:
            refusals.append(last[:160])
        print(f"{number + 1}/{count} {'ok' if done else last}", file=sys.stderr, flush=True)
    print("| of the configurations | number |\n|---|---|")
    for what, n in counts.items():
        print(f"| {what} | {n} |")
    print(f"\n{count} accepted ones, {time.time() - started:.0f} s")
    print("\n".join([*sorted(set(refusals)), *failed]))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
