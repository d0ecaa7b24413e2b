"""Thirteen Lennard-Jones particles: is the energy histogram right, and at what price?

    python benchmarks/studies/lennard_jones.py [--scale quick] [--seed 1] [--longer 10] [--imported]

The reference of `workflow/experiments/lennard_jones_13.yaml` is tempered, and again with another
seed and `--longer` times as many rounds: the truth. Ten times 10,000 energies of each are drawn at
random, and their distance E-W2 (`estimation/wasserstein.py`) is printed beside its floor, that of
two disjoint draws of the truth. The energy is that over ordered pairs, without the centroid's term.

Then the flow of that experiment is trained, and 10,000 of its weighted samples resampled; with
`--imported` again from the levels of the run as files of numpy, each with its energies, as
something else would have left them (`kind: samples`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import load_project, resolve_project
from jeffreysflow.distillation.ensemble import effective_sample_size
from jeffreysflow.estimation.wasserstein import wasserstein_energy
from jeffreysflow.launch.usage import EVALUATIONS
from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.stages import distill, gather, generate, pilot, temper
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.diagnostics import series_diagnostics

ROOT = Path(__file__).parents[2]
NAME, REFERENCE, FLOW = "lennard_jones_13", "tempered", "direct"
DRAWS, REPEATS = 10_000, 10


def experiment(scale: str, seed: int, longer: int = 1, **more: Any) -> Experiment:
    """The shipped one, its reference ``longer`` times as long and with ``more`` changed."""
    settings = {"experiments": NAME, "scale": scale, "seed": str(seed)}
    plain = resolve_project(load_project(ROOT / "config.yaml", settings), ROOT)[NAME]
    if more.get("kind") != "samples":
        more["rounds"] = plain.reference(REFERENCE).rounds * longer
    changed = {NAME: {"references": {REFERENCE: more}}}
    project = load_project(ROOT / "config.yaml", {**settings, "overrides": changed})
    return resolve_project(project, ROOT)[NAME]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def tempered(layout: Layout, e: Experiment, what: str) -> torch.Tensor:
    """Samples [n, 39] of the last level; prints how well it mixed."""
    before = EVALUATIONS.count
    with quietly():
        if e.reference(REFERENCE).levels is None:
            pilot.run(layout, e, REFERENCE)
        temper.run(layout, e, REFERENCE)
        evaluations = EVALUATIONS.count - before
        gather.run(layout, e, REFERENCE)
    files = layout.reference(REFERENCE)
    levels = open_levels(files.levels / "store.zarr", e.reference_hash(REFERENCE))
    x = levels.samples(-1).x
    rows = read_table(files.diagnostics, DiagnosticRow)
    log_z = next(row for row in rows if row.scope == "run" and row.quantity == "log_z")
    potential = get_potential(NAME)
    print(f"{what}: {len(x):,} samples, {len(levels)} levels, {evaluations:.3g} evaluations")
    print(f"  log Z {log_z.value:.3f} +- {log_z.stderr:.3f}")
    for name in ("energy", "gyration", "smallest_distance"):
        values = potential.observables[name](x).reshape(-1, levels.walkers)
        found = series_diagnostics(values)
        print(f"  {name}: mean {float(values.mean()):.4f}, R-hat {found.rhat:.4f}, ", end="")
        print(f"ESS {found.ess:,.0f}", flush=True)
    return x


def imported(layout: Layout, e: Experiment, folder: Path) -> Experiment:
    """The experiment whose reference is the levels of this one, all but the base's, from files."""
    store = layout.reference(REFERENCE).levels / "store.zarr"
    levels = open_levels(store, e.reference_hash(REFERENCE))
    files = []
    for k, lam in enumerate(levels.lam.tolist()):
        if k:
            x, U_0, V = levels.samples(k).by_walker(levels.walkers)
            np.savez(folder / f"{k}.npz", x=x.numpy(), U=(U_0 + V).numpy())
            files.append({"file": str(folder / f"{k}.npz"), "lam": lam})
    return experiment(e.scale, e.seed, kind="samples", path="annealed", files=files)


def energies(potential: Potential, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = potential.observables["energy"](x)
    return found


def distances(a: torch.Tensor, b: torch.Tensor, stream: Stream, size: int) -> list[float]:
    """E-W2 of ``size`` energies of each, drawn anew every time."""

    def drawn(values: torch.Tensor) -> torch.Tensor:
        return values[stream.permutation(len(values))[:size]]

    return [wasserstein_energy(drawn(a), drawn(b)) for _ in range(REPEATS)]


def floor(truth: torch.Tensor, stream: Stream, size: int) -> list[float]:
    found = []
    for _ in range(REPEATS):
        order = stream.permutation(len(truth))
        found.append(wasserstein_energy(truth[order[:size]], truth[order[size : 2 * size]]))
    return found


def flow_energies(
    layout: Layout, e: Experiment, potential: Potential, size: int, what: str = "flow"
) -> torch.Tensor:
    """Energies of a weighted resample; prints the effective sample size."""
    with quietly():
        distill.run(layout, e, FLOW, 1)
        generate.run(layout, e, FLOW)
    store = layout.flow(FLOW).generated / "store.zarr"
    samples = open_ensemble(store, "generated", e.generation_hash(FLOW)).samples()
    ess = 100 * effective_sample_size(samples.log_weights)
    print(f"{what}: ESS {ess:.2f} % of {len(samples.x):,}")
    weights = torch.softmax(samples.log_weights, dim=0).cumsum(dim=0)
    u = Stream(e.seed, "resample").uniform(size)
    rows = torch.searchsorted(weights, u).clamp(max=len(weights) - 1)
    return energies(potential, samples.x[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="quick")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--longer", type=int, default=10, help="rounds of the truth, in those of a run"
    )
    parser.add_argument("--imported", action="store_true", help="the flow from files, too")
    parser.add_argument("--tiny", action="store_true", help="at scale smoke, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    scale, longer = ("smoke", 2) if options.tiny else (options.scale, options.longer)
    potential = get_potential(NAME)
    few = {"kernel": {"parameters": {"leapfrog_steps": 2}}} if options.tiny else {}
    e = experiment(scale, options.seed, **few)
    other = experiment(scale, options.seed + 1000, longer, **few)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder) / "run", NAME)
        found = energies(potential, tempered(layout, e, "run"))
        long_run = tempered(Layout(Path(folder) / "truth", NAME), other, "truth")
        truth = energies(potential, long_run)
        size = min(DRAWS, len(found), len(truth) // 2)
        stream = Stream(options.seed, "draws")
        of_tempering = distances(found, truth, stream, size)
        of_truth = floor(truth, stream, size)
        resampled = flow_energies(layout, e, potential, size)
        of_flow = distances(resampled, truth, stream, size)
        of_imported = []
        if options.imported or options.tiny:
            again, elsewhere = imported(layout, e, Path(folder)), Layout(Path(folder) / "2", NAME)
            with quietly():
                gather.run(elsewhere, again, REFERENCE)
            found = flow_energies(elsewhere, again, potential, size, "flow from imported samples")
            of_imported = distances(found, truth, stream, size)
    print(f"\n| E-W2 of {size:,} energies, {REPEATS} draws | median | least | most |")
    print("|---|---|---|---|")
    for name, values in (
        ("tempering against the truth", of_tempering),
        ("floor: the truth against itself", of_truth),
        ("the flow's weighted resample", of_flow),
        *([("that from imported samples", of_imported)] if of_imported else []),
    ):
        numbers = statistics.median(values), min(values), max(values)
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
