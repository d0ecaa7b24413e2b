"""What the ensemble of a sequence estimates, with errors from its islands."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.analysis.ensemble_estimates import island_sums
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble, resampled
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.jackknife import jackknife_error
from jeffreysflow.estimation.observables import parse_observables
from jeffreysflow.launch.measured import Measured
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.stages import estimate, truth
from jeffreysflow.stores.completion import write_record
from jeffreysflow.stores.ensembles import EnsembleWriter, write_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import (
    DiagnosticRow,
    EstimateRow,
    ProfileRow,
    read_table,
    write_table,
)
from jeffreysflow.streams import Stream
from warm_cases import BOX, warm_samples

# --- two Gaussian levels: N(0, 1) to precisions 6 and 8 in two dimensions, by weights alone

D, ISLANDS, EACH, REPEATS = 2, 20, 100, 100
PRECISIONS = (1.0, 6.0, 8.0)
LOG_Z, SQUARE = -0.5 * D * math.log(PRECISIONS[-1]), 1 / PRECISIONS[-1]
MEASURED = Measured(parse_observables(["x1**2"], D), [])


@dataclass
class Stored:
    """An ensemble in memory that reads like a store."""

    ensemble: Ensemble
    attributes: dict[str, Any]
    path: Path = field(default_factory=lambda: Path("ensemble.zarr"))

    def __len__(self) -> int:
        return len(self.ensemble.x)

    def samples(self, start: int, stop: int) -> Ensemble:
        return Ensemble(*(part[start:stop] for part in self.ensemble))


@cache
def carried(repeat: int, resample_after: tuple[int, ...]) -> Ensemble:
    """The ensemble after both levels; after those of ``resample_after`` each island is resampled by
    itself, and keeps its own evidence.
    """
    x = Stream(7, repeat).normal(ISLANDS * EACH, D)
    zero = x.new_zeros(len(x))
    ensemble = Ensemble(x, zero, zero, zero)
    for level in (1, 2):
        step = PRECISIONS[level] - PRECISIONS[level - 1]
        log_w = ensemble.log_weights - 0.5 * step * ensemble.x.square().sum(dim=1)
        ensemble = ensemble._replace(log_weights=log_w)
        if level in resample_after:
            parts = zip(*(part.split(EACH) for part in ensemble), strict=True)
            drawn = [
                resampled(island, EACH, Stream(8, repeat, level, i))
                for i, island in enumerate(Ensemble(*part) for part in parts)
            ]
            ensemble = Ensemble(*map(torch.cat, zip(*drawn, strict=True)))
    return ensemble


def mean_square_z(resample_after: tuple[int, ...], islands: int | None) -> tuple[float, float]:
    """Mean z^2 of log Z and of E[x1^2]; errors from islands, or (None) of independent samples."""
    scores = []
    for repeat in range(REPEATS):
        store = Stored(carried(repeat, resample_after), {"islands": islands or 1})
        sums = island_sums(store, MEASURED)  # type: ignore[arg-type]
        whole = combined(sums)
        if islands is None:
            errors = torch.tensor([whole.log_z_error, float(whole.errors)])
        else:
            errors = jackknife_error(
                sums, lambda part: torch.tensor([part.log_z, float(part.means)])
            )
        off = torch.tensor([whole.log_z - LOG_Z, float(whole.means) - SQUARE])
        scores.append((off / errors).square())
    log_z, square = torch.stack(scores).mean(dim=0).tolist()
    return log_z, square


# of Student's t with 19 degrees of freedom, and the standard error of its mean over the repeats
EXPECTED = 19 / 17
SPREAD = math.sqrt((3 * 19**2 / (17 * 15) - EXPECTED**2) / REPEATS)


@pytest.mark.parametrize("resample_after", [(), (1,), (1, 2)])
def test_islands_give_errors_whether_or_not_there_was_resampling(
    resample_after: tuple[int, ...],
) -> None:
    for found in mean_square_z(resample_after, ISLANDS):
        assert abs(found - EXPECTED) < 4.5 * SPREAD


def test_errors_of_independent_samples_hold_without_resampling_only() -> None:
    spread = math.sqrt(2 / REPEATS)
    for found in mean_square_z((), None):
        assert abs(found - 1) < 4.5 * spread
    for resample_after in ((1,), (1, 2)):
        log_z, square = mean_square_z(resample_after, None)
        assert log_z > 10
        assert square > 1 + 4.5 * spread


def test_only_islands_that_estimate_are_summed() -> None:
    ensemble = carried(0, ())
    store = Stored(ensemble, {"islands": ISLANDS, "estimate_islands": [0, 3, 7]})
    sums = island_sums(store, MEASURED)  # type: ignore[arg-type]
    for island, part in zip([0, 3, 7], sums, strict=True):
        rows = slice(island * EACH, (island + 1) * EACH)
        alone = WeightedSums.of(ensemble.log_weights[rows], ensemble.x[rows, :1].square())
        assert part.log_z == pytest.approx(alone.log_z, rel=1e-12)
        assert float(part.means) == pytest.approx(float(alone.means), rel=1e-12)


def test_an_ensemble_that_is_no_whole_number_of_islands_is_refused() -> None:
    store = Stored(carried(0, ()), {"islands": 3})
    with pytest.raises(UserError, match=r"ensemble\.zarr: 2000 samples cannot be 3 equal islands"):
        island_sums(store, MEASURED)  # type: ignore[arg-type]


# --- the stage, on stores whose content is known

N = 2**14
FACTS = {
    "ess": 0.8,
    "ess_trained": 0.82,
    "ess_held_out": 0.78,
    "cess": 0.81,
    "cess_trained": 0.83,
    "cess_held_out": 0.79,
    "overfitting": 0.01,
    "cess_identity": 0.1,
    "log_z": 1.7,
    "log_z_error": 0.01,
    "jeffreys_gap": 0.2,
    "gap_relative_to_reference": 0.1,
    "theta": 0.75,
    "renyi": 1.5,
    "attempts": 2.0,
    "warm_start": 1.0,
    "identity_used": 0.0,
    "resampled": 0.0,
    "rejuvenation_acceptance": 0.6,
    "outside_base": 1e-15,
    "outside_reference": 0.0,
    "reference_samples": 4000.0,
    "outside_target": 0.0,
    "outside_predicted": 1e-4,
    "outside_predicted_error": 1e-5,
    "tail_dof": 3.0,
}
SEQUENCE = Experiment.model_validate(
    {
        "name": "x",
        "title": "three wells",
        "scale": "test",
        "seed": 1,
        "potential": {"name": "three_well"},
        "observables": ["sin(x1)", "cos(x2)"],
        "profiles": [{"expression": "x1", "lower": -2, "upper": 2, "bins": 8}],
        "truth": {"box": BOX, "points": 256},
        "references": {
            "r": {
                "ladder": {"kind": "fixed", "values": [0, 0.5, 1]},
                "walkers": 50,
                "warmup_rounds": 0,
                "rounds": 40,
            }
        },
        "flows": {
            "f": {
                "reference": "r",
                "theta": 0.5,
                "levels": "all",
                "published": {"ess": 0.9, "bias": 0.5},
                "published_by_level": {"cess": [0.7, None]},
            }
        },
        "generation": {"samples": N},
    }
)


def run(layout: Layout, islands: int | None = 16) -> None:
    """Exact samples at a higher temperature stand for the ensemble and for the generated ones."""
    target = get_potential("three_well")
    path, hash = AnnealingPath(Base(target.domain), target), SEQUENCE.flow_hash("f")
    files = layout.flow("f")
    for level in (1, 2):
        lam = 0.5 * level
        write_record(
            files.level(level) / "done.json", "distill", hash, time.time(), lam=lam, **FACTS
        )
    attributes = {} if islands is None else {"islands": islands}
    x, log_weights = warm_samples(0.9, N, Stream(1, "ensemble"))
    ensemble = Ensemble(x, log_weights, *path.energies(x))
    write_ensemble(files.level(2) / "ensemble.zarr", hash, ensemble, **attributes)
    x, log_weights = warm_samples(0.8, N, Stream(1, "generated"))
    hash = SEQUENCE.generation_hash("f")
    writer = EnsembleWriter(files.generated / "store.zarr", "generated", hash, N, 2)
    writer.write(Ensemble(x, log_weights, *path.energies(x)))
    writer.close()
    write_record(files.generated / "done.json", "generate", hash, time.time())
    write_table(layout.reference("r").diagnostics, DiagnosticRow, [])
    truth.run(layout, SEQUENCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "exact_divergence", lambda *of: None)
        estimate.run_flow(layout, SEQUENCE, "f")


def sources(layout: Layout) -> dict[str, dict[str, EstimateRow]]:
    """The estimates at the last level, by source and quantity, as the report reads them."""
    write_table(layout.reference("r").estimates, EstimateRow, [])
    found = read_tables(layout, SEQUENCE)["estimates"]
    return {
        source: {row.quantity: row for row in rows if row.level == 2}
        for source, rows in found.items()
    }


def test_the_ensemble_is_a_source_of_its_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout)
    rows = read_table(layout.flow("f").estimates, EstimateRow)
    assert len({(row.level, row.quantity) for row in rows}) == len(rows)
    prefixed = {row.quantity for row in rows if row.quantity.startswith("ensemble:")}
    assert {
        *(
            "ensemble:ess_after_resampling",
            "ensemble:log_z",
            "ensemble:bias",
            "ensemble:noise_floor",
        ),
        *("ensemble:observable:sin(x1)", "ensemble:z:sin(x1)", "ensemble:z:log_z"),
    } <= prefixed
    found = sources(layout)
    assert list(found) == ["reference:r", "ensemble:f", "f"]
    ensemble, fresh = found["ensemble:f"], found["f"]
    assert not any(name.startswith("ensemble:") for name in [*ensemble, *fresh])
    for source in (ensemble, fresh):
        for name in ("log_z", "observable:sin(x1)", "observable:cos(x2)"):
            row = source[name]
            assert row.stderr
            assert abs(row.value - row.exact) < 4.5 * row.stderr
        assert source["bias"].value < 4 * source["bias"].stderr
    assert ensemble["observable:sin(x1)"].value != fresh["observable:sin(x1)"].value
    # the samples are independent, so islands must find the errors of independent samples
    naive = WeightedSums.of(*_values(layout))
    assert ensemble["log_z"].stderr == pytest.approx(naive.log_z_error, rel=0.6)
    assert ensemble["ess_after_resampling"].value == pytest.approx(naive.ess, rel=1e-6)


def _values(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    x, log_weights = warm_samples(0.9, N, Stream(1, "ensemble"))
    return log_weights, x[:, :1].sin()


def test_what_is_published_stands_beside_what_it_was_published_of(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout)
    found = sources(layout)
    assert found["ensemble:f"]["bias"].published == 0.5
    assert found["f"]["bias"].published is None
    assert found["f"]["ess"].published == 0.9
    rows = read_table(layout.flow("f").estimates, EstimateRow)
    cess = {row.level: row.published for row in rows if row.quantity == "cess"}
    assert cess == {1: 0.7, 2: None}


def test_the_facts_of_every_level_are_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout)
    rows = read_table(layout.flow("f").estimates, EstimateRow)
    for level in (1, 2):
        at = {row.quantity: row for row in rows if row.level == level}
        assert at["lam"].value == 0.5 * level
        renamed = {
            **{"log_z": "ensemble_log_z", "jeffreys_gap": "step_jeffreys_gap"},
            # what a level is worth is what the islands say that it was not trained on
            **{"ess": "ess_all", "ess_held_out": "ess"},
            **{"cess": "cess_all", "cess_held_out": "cess"},
        }
        for fact, value in FACTS.items():
            if not fact.endswith("_error"):
                assert at[renamed.get(fact, fact)].value == value
        assert at["ensemble_log_z"].stderr == 0.01
        assert at["outside_predicted"].stderr == 1e-5


def test_an_ensemble_that_does_not_tell_its_islands_has_no_errors(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout, islands=None)
    ensemble = sources(layout)["ensemble:f"]
    assert ensemble["log_z"].stderr is None
    assert ensemble["observable:sin(x1)"].stderr is None
    assert "z:sin(x1)" not in ensemble
    assert "profile_largest_z:x1" not in ensemble
    assert ensemble["bias"].value < 0.1


def test_profiles_lie_beside_the_estimates(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout)
    rows = read_table(layout.flow("f").profiles, ProfileRow)
    assert [(row.source, row.bin) for row in rows] == [
        (source, i) for source in ("generated", "ensemble") for i in range(8)
    ]
    assert (rows[1].lower, rows[1].upper, rows[1].profile) == (-1.5, -1.0, "x1")
    for source in ("generated", "ensemble"):
        part = [row for row in rows if row.source == source]
        assert sum(row.value for row in part) == pytest.approx(1.0, abs=1e-3)
        # a bin that hardly any sample has visited has no error
        assert all(row.stderr > 0 for row in part if row.value > 5e-3)
        for row in part:
            assert row.exact_stderr < 1e-3, "the grid resolves the edges of bins"
            assert abs(row.value - row.exact) < 4.5 * math.hypot(row.stderr or 0, 2e-3)
    for ours, theirs in zip(rows[:8], rows[8:], strict=True):
        error = math.hypot(ours.stderr or 5e-4, theirs.stderr or 5e-4)
        assert abs(ours.value - theirs.value) < 4.5 * error + 1e-9


def test_a_flow_that_nobody_draws_from_has_its_levels_and_its_ensemble(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    run(layout)
    before = read_table(layout.flow("f").estimates, EstimateRow)
    drawn = sources(layout)
    files = layout.flow("f")
    shutil.rmtree(files.generated)
    files.convergence.write_text("of another run")
    content = SEQUENCE.model_dump()
    content["flows"]["g"] = content["flows"]["f"] | {"reference": "f", "published_by_level": {}}
    followed = Experiment.model_validate(content)
    with pytest.raises(UserError, match="generated"):
        estimate.run_flow(layout, SEQUENCE, "f")
    estimate.run_flow(layout, followed, "f")
    rows = read_table(files.estimates, EstimateRow)
    # all that is said without fresh samples is said as with them
    assert [row for row in before if row in rows] == rows
    assert {row.level for row in rows} == {1, 2}
    quantities = {row.quantity for row in rows}
    assert {"cess", "theta", "ensemble:log_z", "ensemble:observable:sin(x1)"} <= quantities
    assert not quantities & {"amortised_ess", "pareto_k", "log_z", "observable:sin(x1)", "trusted"}
    assert {row.source for row in read_table(files.profiles, ProfileRow)} == {"ensemble"}
    assert not files.convergence.exists()
    assert drawn["f"].keys() > {"amortised_ess", "log_z"}
