"""From replicas, or imported samples, to levels, with a judgement of how well they mixed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jeffreysflow.analysis.imported_levels import ImportedLevels
from jeffreysflow.analysis.level_diagnostics import Evidence, level_rows
from jeffreysflow.config import Experiment, ReferenceConfig, SamplesConfig
from jeffreysflow.launch.ladder_notes import is_adaptive, ladder_notes
from jeffreysflow.launch.target import build_potential, scales_of
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels, write_each_level, write_levels
from jeffreysflow.stores.replicas import Replicas
from jeffreysflow.stores.tables import DiagnosticRow, write_table
from jeffreysflow.tempering.archive import Draws, Statistics
from jeffreysflow.tempering.diagnostics import advice
from jeffreysflow.tempering.ladder import cumulative_barrier
from jeffreysflow.tempering.roundtrips import deo_round_trip_rate, seo_round_trip_rate

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment, reference: str) -> None:
    """Verify and demultiplex the replicas of a reference, or read the samples that it consists of;
    write `levels/` and `diagnostics.csv`.

    Raises
    ------
    UserError : the replicas are foreign or incomplete, or a chunk is missing or damaged; samples do
        not fit the energy; what and where is named, and no completion record is written.
    """
    started = time.time()
    files, hash = layout.reference(reference), experiment.reference_hash(reference)
    section = experiment.reference(reference)
    attributes: dict[str, Any] = {
        "experiment": experiment.name,
        "reference": reference,
        "seed": experiment.seed,
        "path": section.path,
        **scales_of(experiment),
    }
    store = files.levels / "store.zarr"
    if isinstance(section, SamplesConfig):
        rows, lines, notes = _imported(store, hash, experiment, reference, section, attributes)
    else:
        rows, lines = _demultiplexed(layout, hash, experiment, reference, section, attributes)
        notes = ladder_notes(experiment, reference)
    levels = open_levels(store, hash)
    domain = build_potential(experiment).domain
    sampled, evidence = [], Evidence(annealed=section.path == "annealed")
    for k, lam in enumerate(levels.lam.tolist()):
        samples = levels.samples(k).by_walker(levels.walkers)
        sampled += level_rows(k, lam, samples, domain)
        evidence.add(k, lam, samples.V)
    notes = evidence.notes + notes
    write_table(files.diagnostics, DiagnosticRow, [*rows, *sampled, *evidence.all_rows()])
    for line in [*lines, *notes]:
        print(f"{experiment.name}/{reference}: {line}", flush=True)
    write_record(
        files.levels / "done.json",
        "gather",
        hash,
        started,
        levels=len(levels),
        samples=levels.draws * levels.walkers,
        advice=lines,
        notes=notes,
    )


def _imported(
    store: Path,
    hash: str,
    experiment: Experiment,
    reference: str,
    section: SamplesConfig,
    attributes: Mapping[str, Any],
) -> tuple[list[DiagnosticRow], list[str], list[str]]:
    """What was found of them, advice, and notes."""
    levels = ImportedLevels(experiment, reference, section)
    sizes = section.draws, section.walkers, levels.dimension
    write_each_level(store, levels, *sizes, section.lambdas, hash, attributes)
    return levels.rows, levels.advice, levels.notes


def _demultiplexed(
    layout: Layout,
    hash: str,
    experiment: Experiment,
    reference: str,
    section: ReferenceConfig,
    attributes: Mapping[str, Any],
) -> tuple[list[DiagnosticRow], list[str]]:
    """What the engine counted, and advice."""
    files = layout.reference(reference)
    read_record(files.replicas / "done.json", hash)
    replicas = Replicas(files.replicas / "store.zarr", hash)
    statistics = replicas.statistics
    chunks = _watched(replicas, f"gather {reference}")
    ladder = statistics.ladder
    write_levels(files.levels / "store.zarr", chunks, replicas.draws, ladder, hash, attributes)
    predicted_rate = deo_round_trip_rate if section.swap == "deo" else seo_round_trip_rate
    rate = predicted_rate(statistics.rejection)
    estimated = section.swap_rule.name != "exact"
    rows = _swap_rows(ladder, statistics, section.rounds, rate, estimated=estimated)
    lines = advice(
        statistics.swap_acceptance.mean(axis=1).tolist(),
        float(statistics.round_trips.sum()),
        adaptive=is_adaptive(section.ladder),
    )
    return rows, lines


def _watched(replicas: Replicas, what: str) -> Iterator[Draws]:
    progress = Progress(replicas.draws, what, "draws")
    done = 0
    for chunk in replicas.chunks():
        yield chunk
        done += len(chunk.x)
        progress.update(done)
    progress.close()


def _swap_rows(
    lam: np.ndarray,
    statistics: Statistics,
    rounds: int,
    predicted_rate: float,
    *,
    estimated: bool,
) -> list[DiagnosticRow]:
    """What the engine counted: moves and swaps by level and pair, round trips, and where swaps see
    estimates the variance and the excess kurtosis of their noise.
    """
    rows = []
    barrier = cumulative_barrier(statistics.rejection)
    for k, value in enumerate(lam.tolist()):
        for quantity, found in (
            ("move_acceptance", statistics.move_acceptance[k]),
            ("step_size", statistics.step_size[k]),
            ("rejected_nan", statistics.rejected_nan[k]),
            ("rejected_wall", statistics.rejected_wall[k]),
            ("barrier", barrier[k]),
        ):
            rows.append(DiagnosticRow("level", k, value, "", quantity, float(found)))
    for k, acceptance in enumerate(statistics.swap_acceptance, start=1):
        mean, error = _mean_and_error(acceptance)
        pair: list[tuple[str, float, float | None]] = [("swap_acceptance", mean, error)]
        if estimated:
            pair.append(("swap_noise", float(statistics.swap_noise[k - 1]), None))
            pair.append(("swap_kurtosis", float(statistics.swap_kurtosis[k - 1]), None))
        rows += [DiagnosticRow("pair", k, float(lam[k]), "", *row) for row in pair]
    rate, error = _mean_and_error(statistics.round_trips / rounds)
    run: list[tuple[str, float, float | None]] = [
        ("barrier", float(barrier[-1]), None),
        ("round_trips", float(statistics.round_trips.sum()), None),
        ("round_trip_rate", rate, error),
        ("round_trip_rate_predicted", predicted_rate, None),
    ]
    return rows + [DiagnosticRow("run", None, None, "", *row) for row in run]


def _mean_and_error(by_walker: np.ndarray) -> tuple[float, float]:
    n = len(by_walker)
    error = by_walker.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return float(by_walker.mean()), float(error)
