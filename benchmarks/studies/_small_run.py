"""Two small experiments that leave every kind of file, and their stages one by one.

What a workflow would do, without one: a stage runs where its output is missing or where one that it
depends on has run, and the run ends at the first that fails.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed

__all__ = [
    "SMALL_EXPERIMENTS",
    "TINY_EXPERIMENTS",
    "Unit",
    "contents",
    "experiments",
    "in_process",
    "run_units",
    "units",
]

_SMALL_FLOW = {
    "network": {"layers": 2, "hidden": 4, "bins": 4},
    "training": {"steps": 6, "batch": 40},
    "ensemble": 400,
    "rejuvenation_steps": 1,
}
_TEMPERING = {"walkers": 24, "warmup_rounds": 24, "rounds": 40, "thin": 2, "tile": {"walkers": 8}}
_KERNEL = {"name": "mala", "step_size": 0.05}


_WELLS: dict[str, Any] = {
    "name": "wells",
    "title": "Wells",
    "potential": {"name": "three_well"},
    "observables": ["x1", "x1 < 0"],
    "profiles": [{"expression": "x1", "lower": -3, "upper": 3, "bins": 6}],
    "truth": {"box": [[-4, 4], [-4, 4]], "points": 64},
    "references": {
        "blocks": {
            "kernel": _KERNEL,
            "ladder": {"kind": "fixed", "values": [0, 0.2, 0.6, 1]},
            "checkpoint_seconds": 0.02,
            **_TEMPERING,
        },
        "piloted": {
            "kernel": _KERNEL,
            "ladder": {
                "kind": "suggested",
                "max_levels": 6,
                "pilot_rounds": 64,
                "pilot_walkers": 24,
            },
            **_TEMPERING,
        },
    },
    "flows": {
        "once": {"reference": "blocks", **_SMALL_FLOW},
        "stepwise": {"reference": "blocks", "levels": "all", "generate": True, **_SMALL_FLOW},
    },
    "generation": {"samples": 1024, "batch": 128, "convergence": [64, 256]},
}
_RING: dict[str, Any] = {
    "name": "ring",
    "title": "Ring",
    "potential": {"name": "quantum_harmonic"},
    "observables": ["x1**2"],
    "truth": {"method": "quadrature"},
    "path_integral": {"beta": 1, "modes": 3, "action_beads": 16, "beads": [8, 12, 16]},
    "references": {
        "classical": {
            "target": "classical",
            "kernel": _KERNEL,
            "ladder": {"kind": "fixed", "values": [0, 0.3, 1]},
            **_TEMPERING,
        }
    },
    "flows": {"first": {"reference": "classical", "levels": "all", **_SMALL_FLOW}},
    "generation": {"samples": 1024, "scramblings": 8, "base_points": "sobol", "batch": 128},
}
SMALL_EXPERIMENTS = (_WELLS, _RING)
"""Wells in two dimensions, with a pilot, a sequence and a single flow; and a path integral."""


TINY_EXPERIMENTS: tuple[dict[str, Any], ...] = (
    {
        **{key: _WELLS[key] for key in ("name", "title", "potential", "observables")},
        "truth": {"box": [[-4, 4], [-4, 4]], "points": 32},
        "references": {
            "blocks": {
                **_WELLS["references"]["blocks"],
                "local_steps": 2,
                "checkpoint_seconds": 0.003,
            }
        },
        "flows": {"once": _WELLS["flows"]["once"]},
        "generation": {"samples": 256, "batch": 128, "convergence": [64, 256]},
    },
)
"""One reference and one flow of it, to see that a study runs."""


def experiments(tiny: bool = False) -> list[Experiment]:
    """The small experiments or the tiny one, resolved."""
    common = {"scale": "smoke", "seed": 1}
    chosen = TINY_EXPERIMENTS if tiny else SMALL_EXPERIMENTS
    return [Experiment.model_validate({**each, **common}) for each in chosen]


@dataclass(frozen=True)
class Unit:
    """A stage's work: its command line, what a rule would declare, and the units it reads."""

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[Path, ...]
    needs: tuple[str, ...]


def units(results: Path, of: Sequence[Experiment]) -> list[Unit]:
    """All stages of the experiments in an order that they can run in."""
    found: list[Unit] = []
    for experiment in of:
        found += _units(Layout(results, experiment.name), experiment)
    configs = [str(Layout(results, experiment.name).config) for experiment in of]
    tables = tuple(unit.name for unit in found)
    outputs = tuple(results / name for name in ("report.html", "summary.csv", "costs.csv"))
    arguments = ("report", "--trust", "--config", *configs, "--results", str(results))
    return [*found, Unit("report", arguments, outputs, tables)]


def _units(layout: Layout, experiment: Experiment) -> Iterator[Unit]:
    name = experiment.name

    def unit(stage: str, of: str, options: Sequence[str], outputs: Sequence[Path], *needs: str):
        arguments = (stage, "--trust", "--config", str(layout.config), *options)
        reads = tuple(f"{name}/{need}" for need in needs)
        return Unit(f"{name}/{stage} {of}".strip(), arguments, tuple(outputs), reads)

    yield unit("truth", "", [], [layout.truth])
    drawn: list[str] = []
    for reference, section in experiment.references.items():
        files, by_name = layout.reference(reference), ["--reference", reference]
        pilot = []
        if section.ladder.kind == "suggested":
            yield unit("pilot", reference, by_name, [files.ladder])
            pilot = [f"pilot {reference}"]
        yield unit("temper", reference, by_name, [files.replicas / "done.json"], *pilot)
        gathered = [files.levels / "done.json", files.diagnostics]
        yield unit("gather", reference, by_name, gathered, f"temper {reference}")
        reads = (f"gather {reference}", f"temper {reference}", "truth ")
        yield unit("estimate", reference, by_name, [files.estimates], *map(str.strip, reads))
        drawn.append(f"estimate {reference}")
    for flow, section in experiment.flows.items():
        files, by_name = layout.flow(flow), ["--flow", flow]
        levels = experiment.flow_steps(flow) or 0
        below: list[str] = []
        for level in range(1, levels + 1):
            options, done = [*by_name, "--level", str(level)], files.level(level) / "done.json"
            yield unit(
                *("distill", f"{flow} {level}", options, [done]),
                *(f"gather {section.reference}", *below),
            )
            below = [f"distill {flow} {level}"]
        all_levels = [f"distill {flow} {level}" for level in range(1, levels + 1)]
        yield unit("generate", flow, by_name, [files.generated / "done.json"], *all_levels)
        references = [f"estimate {reference}" for reference in experiment.references]
        reads = [f"generate {flow}", *all_levels, "truth", *references]
        yield unit("estimate", flow, by_name, [files.estimates], *reads)
        drawn.append(f"estimate {flow}")
        if experiment.path_integral is not None:
            yield unit("beads", flow, by_name, [files.beads], f"generate {flow}", "truth")
            drawn.append(f"beads {flow}")
    files = [
        layout.figures / f"{figure}.{suffix}"
        for figure in _figures(experiment)
        for suffix in ("svg", "pdf")
    ]
    gathers = [f"gather {reference}" for reference in experiment.references]
    histories = [
        f"distill {flow} {level}"
        for flow in experiment.flows
        for level in range(1, (experiment.flow_steps(flow) or 0) + 1)
    ]
    yield unit("figures", "", [], files, *drawn, *gathers, *histories, "truth")


def _figures(experiment: Experiment) -> list[str]:
    from jeffreysflow.report.figures import figure_names

    return figure_names(experiment)


def write_configs(results: Path, of: Sequence[Experiment]) -> None:
    for experiment in of:
        text = experiment.model_dump_json(indent=2)
        write_sealed(Layout(results, experiment.name).config, text)


def in_process(unit: Unit) -> tuple[int, str]:
    """Run a unit here; its exit code and what it said. A traceback is raised."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(unit.arguments)
    return code, said.getvalue()


def run_units(
    all_units: Sequence[Unit],
    run: Callable[[Unit], tuple[int, str]] = in_process,
    forced: Sequence[str] = (),
) -> tuple[bool, str]:
    """One pass over the stages; whether all is there in the end, and what was said."""
    ran, said = set(), []
    for unit in all_units:
        missing = not all(output.exists() for output in unit.outputs)
        if missing or unit.name in forced or ran.intersection(unit.needs):
            for output in unit.outputs:
                output.unlink(missing_ok=True)
            code, lines = run(unit)
            said.append(lines)
            if code != 0:
                return False, "".join(said)
            ran.add(unit.name)
    return True, "".join(said)


def contents(results: Path) -> dict[str, bytes]:
    """Every file of which the bits must not depend on how a run went."""
    kept = {}
    for file in sorted(results.rglob("*")):
        name = file.relative_to(results).as_posix()
        aside = (
            ".lock",
            ".log",
            ".sha256",
            ".json.partial",
            "done.json",
            "record.json",
            "ladder.json",
        )
        of_run = ("usage/", "logs/", ".previous/", "report.html", "costs.csv", "checkpoint/")
        if file.is_file() and not name.endswith(aside) and not any(o in name for o in of_run):
            kept[name] = file.read_bytes()
    return kept
