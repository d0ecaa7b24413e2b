"""Is a metric a level worth it? What an evaluation gives, `metric: diagonal` over `unit`.

    python benchmarks/studies/metric.py [--rounds 400] [--seeds 1,2,3] [--only NAMES] [--tiny]

A reference of each experiment is tempered with both metrics; all else is as in its file, but for
the number of rounds. Printed are, for a million evaluations of the target's energy (warm-up not
counted), the effective samples of the last level, of the coordinate or energy that has fewest, and
the round trips, each a mean over seeds, and the ratios of both metrics.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import load_project, resolve_project
from jeffreysflow.stages import gather, temper
from jeffreysflow.stores.completion import KEPT_RECORD, read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import DiagnosticRow, read_table

ROOT = Path(__file__).parents[2]
REFERENCES = {
    "rosenbrock_4d": "tempered",
    "gaussian_mixture_3d": "tempered",
    "rastrigin_8d": "adaptive",
    "solvated_16d": "published",
    "many_well_32d": "tempered",
    "phi4_chain": "tempered",
    "lennard_jones_13": "tempered",
}


def experiment(
    name: str, metric: str, rounds: int, seed: int, scale: str, **more: Any
) -> Experiment:
    """The shipped one, with this metric and so many rounds, eight or more of them recorded."""
    changed = {
        "rounds": rounds,
        "warmup_rounds": rounds,
        "thin": max(1, rounds // 200),
        "kernel": {"metric": metric},
        **more,
    }
    settings = {"experiments": name, "scale": scale, "seed": str(seed)}
    overrides = {name: {"references": {REFERENCES[name]: changed}}}
    project = load_project(ROOT / "config.yaml", {**settings, "overrides": overrides})
    return resolve_project(project, ROOT)[name]


def rates(e: Experiment) -> tuple[float, float]:
    """Effective samples and round trips for a million evaluations."""
    reference = REFERENCES[e.name]
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder), e.name)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            temper.run(layout, e, reference)
            gather.run(layout, e, reference)
        files = layout.reference(reference)
        million = read_record(files.replicas / KEPT_RECORD)["evaluations_recorded"] / 1e6
        rows = read_table(files.diagnostics, DiagnosticRow)
    last = max(row.level for row in rows if row.level is not None)
    ess = min(row.value for row in rows if row.quantity == "ess" and row.level == last)
    trips = next(row.value for row in rows if row.quantity == "round_trips")
    return ess / million, trips / million


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", default=",".join(REFERENCES))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rounds, seeds, names = options.rounds, options.seeds.split(","), options.only.split(",")
    scale, more = "quick", {}
    if options.tiny:
        rounds, seeds, names, scale = 64, ["1"], ["rosenbrock_4d"], "smoke"
        more = {"walkers": 16, "local_steps": 1}
    print(f"{'a million evaluations':20s} {'effective samples':>28s} {'round trips':>28s}")
    print(f"{'':20s} {'unit  diagonal     ratio':>28s} {'unit  diagonal     ratio':>28s}")
    for name in names:
        columns = []
        for metric in ("unit", "diagonal"):
            found = [
                rates(experiment(name, metric, rounds, int(seed), scale, **more)) for seed in seeds
            ]
            columns.append([fmean(values) for values in zip(*found, strict=True)])
        cells = [
            f"{unit:9.0f} {diagonal:9.0f} {diagonal / unit if unit else math.nan:8.2f}"
            for unit, diagonal in zip(*columns, strict=True)
        ]
        print(f"{name:20s} {cells[0]:>28s} {cells[1]:>28s}", flush=True)


if __name__ == "__main__":
    main()
