"""The stage `estimate` on stores whose content is known exactly."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from jeffreysflow.analysis import exact_divergence
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.extended import generated
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.stages import estimate, truth
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.ensembles import EnsembleWriter
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import write_levels
from jeffreysflow.stores.tables import (
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    TruthRow,
    read_table,
    write_table,
)
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import Draws
from jeffreysflow.truth.sampling import GridSampler
from warm_cases import BOX, LogWeight, warm_samples, warm_weight

N = 2**16


def experiment(**generation: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "x",
            "title": "three wells",
            "scale": "test",
            "seed": 1,
            "potential": {"name": "three_well"},
            "observables": ["sin(x1)", "cos(x2)", "x1 < 0", "U"],
            "truth": {"box": BOX, "points": 256},
            "references": {
                "r": {
                    "ladder": {"kind": "fixed", "values": [0, 1]},
                    "walkers": 50,
                    "warmup_rounds": 0,
                    "rounds": 40,
                    "published": {"bias": 0.5},
                }
            },
            "flows": {"f": {"reference": "r", "theta": 0.5, "published": {"ess": 0.9}}},
            "generation": {"samples": N, **generation},
        }
    )


SIDES = {
    "observables": ["x1 < 0", "x1 >= 0"],
    "equal_weights": {"sides": ["x1 < 0", "x1 >= 0"]},
}


@dataclass
class Backwards:
    """A flow whose samples have given log weights, of which only the way back is needed: all of
    them come from the base's mean.
    """

    log_weight: LogWeight
    invertible, pulls, normals, rows_at_once = True, True, 0, 20_000

    def pulled(self, x: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        target = get_potential("three_well")
        z = torch.zeros_like(x)
        return z, Base(target.domain).energy(z) - target.energy(x) - self.log_weight(x)


def write_generated(
    layout: Layout, e: Experiment, x: torch.Tensor, log_weight: torch.Tensor, **attributes: object
) -> None:
    path = AnnealingPath(Base(get_potential("three_well").domain), get_potential("three_well"))
    U_0, V = path.energies(x)
    files, hash = layout.flow("f"), e.generation_hash("f")
    store = files.generated / "store.zarr"
    writer = EnsembleWriter(store, "generated", hash, len(x), 2, **attributes)
    writer.write(Ensemble(x, log_weight, U_0, V))
    writer.close()
    write_record(files.generated / "done.json", "generate", hash, time.time())
    log_z = DiagnosticRow("run", None, None, "", "log_z", 1.71, 0.01)
    write_table(layout.reference("r").diagnostics, DiagnosticRow, [log_z])
    sound = [EstimateRow(1, name, 1.0) for name in ("trusted", "exact_kernel")]
    of_reference = [EstimateRow(1, "log_z", 1.71, 0.01), *sound]
    write_table(layout.reference("r").estimates, EstimateRow, of_reference)
    facts = {"ess": 0.8, "cess": 0.81, "cess_identity": 0.1, "log_z": 1.7, "jeffreys_gap": 0.2}
    more = {"gap_relative_to_reference": 0.1, "train_seconds": 3.0}
    done = files.level(1) / "done.json"
    write_record(done, "distill", e.flow_hash("f"), time.time(), **facts, **more)


def estimated(
    layout: Layout, e: Experiment, log_weight: LogWeight | None = None
) -> dict[str, EstimateRow]:
    """The estimates of a flow whose samples have these log weights (those at beta = 0.9)."""
    flow = Backwards(log_weight or warm_weight(0.9))
    truth.run(layout, e)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_divergence, "load_flow", lambda file, hash: flow)
        patch.setattr(estimate, "open_levels", lambda file, hash: None)
        patch.setattr(estimate, "reference_pulled_back", lambda *_: None)
        estimate.run_flow(layout, e, "f")
    rows = read_table(layout.flow("f").estimates, EstimateRow)
    assert len({row.quantity for row in rows}) == len(rows)
    assert {row.level for row in rows} == {1}
    return {row.quantity: row for row in rows}


def test_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, e = Layout(tmp_path, "x"), experiment(convergence=[2**10, 2**12, 2**13])
    x, log_weight = warm_samples(0.9, N, Stream(1, "flow"))
    write_generated(layout, e, x, log_weight)
    rows = estimated(layout, e)
    weights = torch.softmax(log_weight, 0)
    ess = 1 / (N * float(weights.square().sum()))
    assert rows["ess"].value == pytest.approx(ess, rel=1e-9)
    assert rows["ess"].published == 0.9
    assert ess > 0.95
    assert rows["amortised_ess"].value == rows["ess"].value
    assert rows["ess"].stderr is not None
    assert 0 < rows["ess"].stderr < 0.01
    assert (rows["ensemble_ess"].value, rows["cess"].value) == (0.8, 0.81)
    assert (rows["ensemble_log_z"].value, rows["step_jeffreys_gap"].value) == (1.7, 0.2)
    assert rows["log_z"].exact == pytest.approx(1.70654, abs=6e-6)
    for name in ("log_z", *(f"observable:{text}" for text in e.observables)):
        row = rows[name]
        assert row.exact is not None
        assert row.stderr is not None
        assert abs(row.value - row.exact) < 4.5 * row.stderr
    value = float(weights @ x[:, 0].sin())
    assert rows["observable:sin(x1)"].value == pytest.approx(value, rel=1e-9)
    lower, upper = rows["log_z_lower"].value, rows["log_z_upper"].value
    assert lower < rows["log_z"].value < upper
    gap, weighted = rows["jeffreys_gap"], rows["jeffreys_gap_weighted"]
    assert gap.value == pytest.approx(upper - lower)
    assert 0 < weighted.value < 0.1
    assert gap.stderr is not None
    assert weighted.stderr is not None
    assert abs(gap.value - weighted.value) < 4.5 * math.hypot(gap.stderr, weighted.stderr)
    exact = (warm_weight(0.9)(x) * weights).sum() - log_weight.mean()
    assert weighted.value == pytest.approx(float(exact), rel=1e-9)
    assert rows["exact_samples"].value == 20_000
    z = rows["z:sin(x1)"].value * rows["observable:sin(x1)"].stderr
    assert z == pytest.approx(value - rows["observable:sin(x1)"].exact, rel=1e-4)
    assert rows["bias"].value < 4 * rows["bias"].stderr
    variances = [row.variance for row in read_table(layout.truth, TruthRow)]
    assert rows["noise_floor"].value == pytest.approx(math.sqrt(sum(variances) / N))
    assert rows["trusted"].value == 1.0
    assert rows["pareto_k"].value < 0.5
    convergence = read_table(layout.flow("f").convergence, ConvergenceRow)
    assert [(row.size, row.blocks) for row in convergence] == [(2**10, 64), (2**12, 16), (2**13, 8)]
    # it does not depend on how many samples it is of
    assert [row.ess for row in convergence] == pytest.approx([rows["ess"].value] * 3, rel=0.05)
    slope = rows["convergence_slope"]
    assert abs(slope.value + 0.5) < 4.5 * slope.stderr
    assert capsys.readouterr().out == ""


def test_low_ess_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, e = Layout(tmp_path, "x"), experiment()
    target = get_potential("three_well")
    base = Base(target.domain)
    x = base.sample(N, Stream(2)) + 1.5

    def log_weight(x: torch.Tensor) -> torch.Tensor:
        return base.energy(x - 1.5) - target.energy(x)

    write_generated(layout, e, x, log_weight(x))
    layout.flow("f").convergence.write_text("left over from another configuration")
    rows = estimated(layout, e, log_weight)
    assert rows["trusted"].value == 0.0
    assert rows["ess"].value < 0.1
    assert "x/f: ESS is" in capsys.readouterr().out
    assert not layout.flow("f").convergence.exists()


def lost_mode(
    layout: Layout, e: Experiment, log_z: float | None = 1.71, reference_gap: float = 0.1
) -> dict[str, EstimateRow]:
    """Near-perfect weights of samples with x1 > 0; those with x1 < 0 come once in e^10 draws."""
    x, log_weight = warm_samples(0.98, 3 * N, Stream(6))
    inside = x[:, 0] > 0
    log_share = math.log(float(inside.double().mean()))
    write_generated(layout, e, x[inside][:N], log_weight[inside][:N] + log_share)
    if log_z is None:
        write_table(layout.reference("r").diagnostics, DiagnosticRow, [])
        write_table(layout.reference("r").estimates, EstimateRow, [])
    done = layout.flow("f").level(1) / "done.json"
    record = read_record(done, e.flow_hash("f"))
    facts = {name: record[name] for name in ("ess", "cess", "cess_identity", "log_z")}
    more = {"jeffreys_gap": 0.01, "train_seconds": 1, "gap_relative_to_reference": reference_gap}
    write_record(done, "distill", e.flow_hash("f"), time.time(), **facts, **more)

    def everywhere(x: torch.Tensor) -> torch.Tensor:
        return warm_weight(0.98)(x) + log_share + 10 * (x[:, 0] < 0)

    return estimated(layout, e, everywhere)


def test_a_missing_mode_is_seen_by_exact_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = lost_mode(Layout(tmp_path, "x"), experiment())
    assert rows["jeffreys_gap_weighted"].value < 0.1
    assert rows["jeffreys_gap"].value > 0.3
    assert rows["jeffreys_gap"].value > 5 * rows["jeffreys_gap"].stderr
    assert rows["log_z_upper"].value > 1.70654 > rows["log_z"].value
    assert "over its own weighted ones: the flow lost a mode" in capsys.readouterr().out
    assert rows["trusted"].value == 0.0


def test_a_missing_mode_is_seen_by_log_z(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows the exact values."""
    rows = lost_mode(Layout(tmp_path, "x"), experiment().model_copy(update={"truth": None}))
    assert rows["ess"].value > 0.99
    assert rows["trusted"].value == 0.0
    assert rows["jeffreys_gap"].value == rows["jeffreys_gap_weighted"].value < 0.1
    assert "exact_samples" not in rows
    assert "standard errors): modes may be missing" in capsys.readouterr().out


@pytest.mark.parametrize(("reference_gap", "trusted"), [(0.3, 1.0), (4.0, 0.0)])
def test_a_missing_mode_is_seen_by_samples_of_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference_gap: float, trusted: float
) -> None:
    """Neither exact values nor log Z by tempering: a reference on the power path."""
    e = experiment().model_copy(update={"truth": None})
    rows = lost_mode(Layout(tmp_path, "x"), e, None, reference_gap)
    assert rows["trusted"].value == trusted
    text = "either the flow lost a mode or the reference is biased"
    assert (text in capsys.readouterr().out) == (trusted == 0.0)


def test_a_missing_mode_is_seen_by_a_symmetry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    e = experiment().model_copy(update={"truth": None, **SIDES})
    rows = lost_mode(Layout(tmp_path, "x"), e, None)
    assert rows["trusted"].value == 0.0
    assert rows["observable:x1 < 0"].exact is None, "the table has what truth says"
    assert "2 of 2 estimates are more than 4 standard errors" in capsys.readouterr().out


def test_samples_pulled_back_have_the_weights_of_generated_ones() -> None:
    """Two flows in turn: the bracket of D at a generated sample is its log weight."""
    target = get_potential("three_well")
    path = AnnealingPath(Base(target.domain), target)
    box = ([-6.0] * 2, [6.0] * 2, [1.0] * 2, [False] * 2, ())
    flows = [SplineFlow(*box, 2, (8, 8), 6, Stream(k)).to(torch.float64) for k in (1, 2)]
    with torch.no_grad():
        for parameter in (p for flow in flows for p in flow.parameters()):
            parameter += 0.3 * Stream(3, len(parameter)).normal(*parameter.shape)
    batch = generated(flows, path, Base(target.domain).sample(500, Stream(4)), torch.empty(500, 0))
    bracket = exact_divergence.pulled_back(flows, path, batch.x)
    assert (batch.x.std(dim=0) - 1).abs().max() > 0.01, "the flows must not be the identity"
    torch.testing.assert_close(bracket, batch.log_weights, rtol=1e-10, atol=1e-6)


def test_sobol_errors_come_from_scramblings(tmp_path: Path) -> None:
    """Base points as they are: the weights are those of plain importance sampling."""
    layout, e = Layout(tmp_path, "x"), experiment(base_points="sobol", scramblings=16)
    target = get_potential("three_well")
    base = Base(target.domain, sd=1.3)
    x = torch.cat([p for r in range(16) for p in sobol_base_points(base, N // 16, 999, 1, "b", r)])
    write_generated(layout, e, x, base.energy(x) - target.energy(x), scramblings=16)
    rows = estimated(layout, e, lambda x: base.energy(x) - target.energy(x))
    for name in ("log_z", *(f"observable:{text}" for text in e.observables)):
        assert abs(rows[name].value - rows[name].exact) < 5 * rows[name].stderr
    assert rows["sobol_gain:sin(x1)"].value > 10
    assert rows["bias"].value < rows["noise_floor"].value


def test_bad_weights_and_foreign_stores(tmp_path: Path) -> None:
    layout, e = Layout(tmp_path, "x"), experiment()
    x, log_weight = warm_samples(0.9, N, Stream(3))
    log_weight[700] = math.nan
    write_generated(layout, e, x, log_weight)
    truth.run(layout, e)
    with pytest.raises(UserError, match=r"log weight nan of sample 700 at x = "):
        estimate.run_flow(layout, e, "f")
    with pytest.raises(UserError, match="another configuration"):
        estimate.run_flow(layout, e.model_copy(update={"seed": 2}), "f")
    with pytest.raises(UserError, match="unknown flow 'g'"):
        estimate.run_flow(layout, e, "g")
    assert not layout.flow("f").estimates.exists()


def test_samples_without_weight_need_no_values(tmp_path: Path) -> None:
    """An infinite energy gives weight 0; the sample counts for the ESS and for nothing else."""
    layout, e = Layout(tmp_path, "x"), experiment()
    x, log_weight = warm_samples(0.9, N, Stream(7))
    x[::4], log_weight[::4] = 1e200, -math.inf
    write_generated(layout, e, x, log_weight)
    rows = estimated(layout, e)
    assert rows["ess"].value == pytest.approx(0.75 * 0.97, abs=0.03)
    assert abs(rows["z:U"].value) < 4.5
    assert rows["jeffreys_gap"].value == math.inf


def test_without_truth(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "x")
    e = experiment(convergence=[2**14]).model_copy(update={"truth": None})
    write_generated(layout, e, *warm_samples(0.9, N, Stream(4)))
    rows = estimated(layout, e)
    assert read_table(layout.truth, TruthRow) == []
    assert rows["log_z"].exact is None
    assert not {"bias", "noise_floor", "z:sin(x1)"} & set(rows)
    assert "observable:sin(x1)" in rows


def test_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact samples, each kept for four draws of its walker: errors must see the repetition."""
    layout, e = Layout(tmp_path, "x"), experiment()
    hash, files = e.reference_hash("r"), layout.reference("r")
    target = get_potential("three_well")
    x = GridSampler(target, BOX, 512).sample(500, Stream(5)).reshape(10, 1, 50, 2)
    x = x.repeat_interleave(4, dim=0).expand(40, 2, 50, 2)
    base = Base(target.domain)
    U_0 = base.energy(x)
    level = np.broadcast_to(np.arange(2, dtype=np.int16)[:, None], (40, 2, 50))
    draws = Draws(x.numpy(), U_0.numpy(), (target.energy(x) - U_0).numpy(), level)
    write_levels(files.levels / "store.zarr", [draws], 40, np.array([0.0, 1.0]), hash, {})
    write_record(files.levels / "done.json", "gather", hash, time.time())
    log_z = DiagnosticRow("run", None, None, "", "log_z", 1.7, 0.01)
    write_table(files.diagnostics, DiagnosticRow, [log_z])
    truth.run(layout, e)
    estimate.run_reference(layout, e, "r")
    rows = {row.quantity: row for row in read_table(files.estimates, EstimateRow)}
    exact, error = rows["log_z"].exact, rows["log_z"].exact_stderr
    assert rows["log_z"] == EstimateRow(1, "log_z", 1.7, 0.01, exact, None, error)
    assert error is not None
    assert 0 < error < 1e-12
    exact = {row.observable: row for row in read_table(layout.truth, TruthRow)}
    for text in e.observables:
        row = rows[f"observable:{text}"]
        assert row.level == 1
        independent = math.sqrt(exact[text].variance / 500)
        assert row.stderr == pytest.approx(independent, rel=4 / math.sqrt(2 * 50) + 0.1)
        assert abs(rows[f"z:{text}"].value) < 4.5
    assert rows["bias"].published == 0.5
    assert rows["noise_floor"].value < rows["bias"].stderr
    assert capsys.readouterr().out == ""

    shifted = draws._replace(x=draws.x + 0.3)
    write_levels(files.levels / "store.zarr", [shifted], 40, np.array([0.0, 1.0]), hash, {})
    estimate.run_reference(layout, e, "r")
    assert "x/reference:r: 2 of 5 estimates are more than 4" in capsys.readouterr().out

    # exact values are those of a symmetry alone, which there is not
    for groups, trusted in (({}, 1.0), (SIDES, 0.0)):
        told = e.model_copy(update={"truth": None, **groups})
        write_levels(files.levels / "store.zarr", [draws], 40, np.array([0.0, 1.0]), hash, {})
        truth.run(layout, told)
        estimate.run_reference(layout, told, "r")
        rows = {row.quantity: row for row in read_table(files.estimates, EstimateRow)}
        assert rows["trusted"].value == trusted
    assert "2 of 2 estimates are more than 4 standard errors" in capsys.readouterr().out
