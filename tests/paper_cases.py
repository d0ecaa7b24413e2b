"""What the paper prints, number by number, and results folders as finished runs leave them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from jeffreysflow.config import Experiment, Project, resolve_experiment
from jeffreysflow.report.figures import figure_names
from jeffreysflow.stores.completion import write_record
from jeffreysflow.stores.figures import write_figure
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow, write_table

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "workflow" / "paper.yaml"

PRINTED = {
    "Figure 2": [
        *("22.7 59.9 82.5 93.5 0.1", "0.00178 0.000945 0.00132 0.00170 0.109"),
        *("17.3 42.5 68.2 72.3 2.6", "0.00407 0.00199 0.00185 0.00516 0.391"),
        *("18.4 45.8 70.3 78.7 37.8", "0.00904 0.00411 0.00347 0.00286 0.00166"),
        *("20.4 57.8 82.2 92.0 35.3", "0.00351 0.00228 0.00205 0.00158 0.00437"),
    ],
    "Figure 3": ["96", "0.00781 – – – 0.000425"],
    "Figure 4": ["94.3 85.6 80.2", "0.00421", "0.00112"],
    "Figure 5": ["94.4 92.2 72.2"],
    "Figure 7": ["98.7 93.1 93.65 93.27 88.64 90.59 86.63 85.93"],
    "Table I": [
        "94.4 96.1 91.0 78.2 71.5 74.6 82.6 86.7 89.8 92.3 93.4 94.5 95.3 94.5 95.1 95.4 95.5 91.8 "
        "94.5 92.0 93.1 85.6",
        "94.4 90.7 82.6 64.4 [100] 74.6 61.0 51.9 [100] 92.3 84.7 77.1 68.9 58.9 [100] 95.4 88.1 "
        "74.7 61.1 [100] 93.1 74.1",
    ],
    "Table II": [
        *("5.97 5.90 6.11 7.49 11.2 15.0", "9.82 3.50 4.44 6.42 9.48 11.1"),
        *("0.281 2.57 1.91 1.96 1.32 1.48", "0.444 0.929 0.893 1.45 1.89 1.43"),
        *("0.494 0.165 1.56 0.644 0.460 0.845", "0.375 0.308 0.687 1.05 0.822 1.49"),
    ],
    "Table III": [
        *("99.17 97.52 94.42 87.17 76.80", "99.16 96.13 93.75 87.51 77.61"),
        *("99.25 96.77 95.34 91.77 86.02", "98.07 96.80 95.11 91.81 86.64"),
    ],
    "Table IV": [
        "83.9 91.5 92.5 88.7 77.3 85.2 89.6 89.2",
        "83.4 88.3 93.1 88.8 79.9 86.2 89.3 91.2",
        "61.7 64.3 84.7 90.0 89.1 93.2 79.7 94.1",
    ],
    "Table V": ["0.0160 0.00745 0.00593 0.00356 0.00402 0.00200 0.000384"],
}
"""Series by item, in their order, digits as printed."""


def resolved(name: str, scale: str = "smoke", root: Path = ROOT) -> Experiment:
    """An experiment of the workflow."""
    file = root / "workflow" / "experiments" / f"{name}.yaml"
    return resolve_experiment(file, Project(experiments=[name], scale=scale))


def a_project(folder: Path, change: Callable[[dict], None] = lambda content: None) -> Path:
    """A copy of `paper.yaml`, changed, in a project with all experiments."""
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "experiments").symlink_to(ROOT / "workflow" / "experiments")
    (folder / "docs").symlink_to(ROOT / "docs")
    content = yaml.safe_load(FACTS.read_text())
    change(content)
    file = folder / "workflow" / "paper.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def fabricate(
    results: Path,
    experiment: Experiment,
    reference: Sequence[EstimateRow] = (),
    flow: Sequence[EstimateRow] = (),
) -> Layout:
    """Leave what a run to the end leaves, but for stores: all references and flows alike."""
    layout, now = Layout(results, experiment.name), time.time() - 5
    write_sealed(layout.config, experiment.model_dump_json(indent=2))
    for name in experiment.references:
        files, hash = layout.reference(name), experiment.reference_hash(name)
        write_record(files.replicas / "done.json", "temper", hash, now)
        write_record(files.levels / "done.json", "gather", hash, now)
        write_table(files.estimates, EstimateRow, reference)
        ladder = getattr(experiment.references[name].ladder, "values", [0.0, 1.0])
        diagnostics = [
            DiagnosticRow("level", k, lam, "", "barrier", 0.1 * k) for k, lam in enumerate(ladder)
        ]
        write_table(files.diagnostics, DiagnosticRow, diagnostics)
    for name in experiment.flows:
        files = layout.flow(name)
        for level in range(1, (experiment.flow_steps(name) or 1) + 1):
            record = files.level(level) / "done.json"
            write_record(record, "distill", experiment.flow_hash(name), now, level=level)
        if experiment.generates(name):
            record = files.generated / "done.json"
            write_record(record, "generate", experiment.generation_hash(name), now)
        write_table(files.estimates, EstimateRow, flow)
    for name in figure_names(experiment):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="10.0pt"><!-- {name} --></svg>'
        write_figure(layout.figures, name, {"svg": svg.encode()})
    return layout
