"""From replicas to levels, with a judgement of how well tempering mixed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.domain import Domain
from jeffreysflow.estimation.pareto import PARETO_LIMIT, pareto_k
from jeffreysflow.launch.ladder_notes import ladder_notes
from jeffreysflow.launch.target import build_potential
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Samples, open_levels, write_levels
from jeffreysflow.stores.replicas import Replicas
from jeffreysflow.stores.tables import DiagnosticRow, write_table
from jeffreysflow.tempering.archive import Draws, Statistics
from jeffreysflow.tempering.diagnostics import advice, level_series, series_diagnostics
from jeffreysflow.tempering.evidence import (
    LogRatio,
    bennett,
    chained,
    stepping_backward,
    stepping_forward,
)
from jeffreysflow.tempering.ladder import cumulative_barrier
from jeffreysflow.tempering.roundtrips import deo_round_trip_rate, seo_round_trip_rate

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment, reference: str) -> None:
    """Verify and demultiplex the replicas of a reference; write `levels/` and `diagnostics.csv`.

    Raises
    ------
    UserError : the replicas are foreign or incomplete, or a chunk is missing or damaged; it is
        named, and no completion record is written.
    """
    started = time.time()
    files, hash = layout.reference(reference), experiment.reference_hash(reference)
    section = experiment.reference(reference)
    read_record(files.replicas / "done.json", hash)
    replicas = Replicas(files.replicas / "store.zarr", hash)
    statistics = replicas.statistics
    store = files.levels / "store.zarr"
    attributes = {
        "experiment": experiment.name,
        "reference": reference,
        "seed": experiment.seed,
        "path": section.path,
    }
    chunks = _watched(replicas, f"gather {reference}")
    write_levels(store, chunks, replicas.draws, statistics.ladder, hash, attributes)
    levels = open_levels(store, hash)
    domain = build_potential(experiment).domain
    sampled, evidence = [], _Evidence(annealed=section.path == "annealed")
    for k, lam in enumerate(levels.lam.tolist()):
        samples = levels.samples(k).by_walker(levels.walkers)
        sampled += _level_rows(k, lam, samples, domain)
        evidence.add(k, lam, samples.V)
    notes = evidence.notes + ladder_notes(experiment, reference)
    predicted_rate = deo_round_trip_rate if section.swap == "deo" else seo_round_trip_rate
    rate = predicted_rate(statistics.rejection)
    estimated = section.swap_rule.name != "exact"
    swaps = _swap_rows(levels.lam, statistics, section.rounds, rate, estimated=estimated)
    write_table(files.diagnostics, DiagnosticRow, [*swaps, *sampled, *evidence.all_rows()])
    lines = advice(
        statistics.swap_acceptance.mean(axis=1).tolist(),
        float(statistics.round_trips.sum()),
        adaptive=section.ladder.kind in ("adaptive", "suggested"),
    )
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


def _level_rows(k: int, lam: float, samples: Samples, domain: Domain) -> list[DiagnosticRow]:
    """Autocorrelation, ESS and R-hat of the energy and every coordinate at level ``k``."""
    x, U_0, V = samples
    return [
        DiagnosticRow("level", k, lam, series, quantity, value)
        for series, values in level_series(x, interpolated(U_0, V, lam), domain).items()
        for quantity, value in series_diagnostics(values)._asdict().items()
    ]


class _Evidence:
    """log Z ratios of neighbours by three estimators, level after level; on the annealed path also
    log Z of the target.
    """

    def __init__(self, annealed: bool) -> None:
        self.notes: list[str] = []
        self._annealed, self._trusted = annealed, True
        self._rows: list[DiagnosticRow] = []
        self._terms: dict[str, list[LogRatio]] = {
            "log_z": [],
            "log_z_forward": [],
            "log_z_backward": [],
        }
        self._below: tuple[float, torch.Tensor] | None = None

    def add(self, k: int, lam: float, V: torch.Tensor) -> None:
        """The next level, from its ``V`` [draw, walker]."""
        if self._below is not None:
            self._add_pair(k, lam, lam - self._below[0], self._below[1], V)
        self._below = lam, V

    def _add_pair(
        self, k: int, lam: float, step: float, lower: torch.Tensor, upper: torch.Tensor
    ) -> None:
        tail = {
            "pareto_k_forward": pareto_k(-step * lower.flatten()),
            "pareto_k_backward": pareto_k(step * upper.flatten()),
        }
        ratios = {
            "log_z": bennett(lower, upper, step),
            "log_z_forward": stepping_forward(lower, step),
            "log_z_backward": stepping_backward(upper, step),
        }
        for quantity, ratio in ratios.items():
            self._terms[quantity].append(ratio)
            row = (f"{quantity}_ratio", ratio.value, ratio.error, ratio.dof)
            self._rows.append(DiagnosticRow("pair", k, lam, "", *row))
        for quantity, value in tail.items():
            self._rows.append(DiagnosticRow("pair", k, lam, "", quantity, value))
        if self._annealed and k == 1 and tail["pareto_k_backward"] > PARETO_LIMIT:
            self._trusted = False
            self.notes.append(
                f"the backward stepping stone from level 1 has Pareto k "
                f"{tail['pareto_k_backward']:.2f} > {PARETO_LIMIT}: no backward log Z"
            )

    def all_rows(self) -> list[DiagnosticRow]:
        """Those of all pairs, and of the whole ladder."""
        rows = list(self._rows)
        if self._annealed:
            for quantity, chain in self._terms.items():
                if quantity != "log_z_backward" or self._trusted:
                    total = chained(chain)
                    row = (quantity, total.value, total.error, total.dof)
                    rows.append(DiagnosticRow("run", None, None, "", *row))
        return rows
