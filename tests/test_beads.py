"""Averages over beads: from low modes of a known law, and by the stages from end to end."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.analysis import bead_sums as bead_sums_module
from jeffreysflow.analysis.bead_sums import BeadSums, bead_sums
from jeffreysflow.analysis.bead_table import BeadTable
from jeffreysflow.config import Experiment
from jeffreysflow.config.path_integral import PathIntegralConfig
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.observables import parse_observable, parse_observables
from jeffreysflow.estimation.profiles import Profile
from jeffreysflow.launch.measured import Measured
from jeffreysflow.pathintegral.estimators import ESTIMATORS
from jeffreysflow.pathintegral.normal_modes import frequencies
from jeffreysflow.pathintegral.takahashi_imada import FOURTH_ORDER
from jeffreysflow.potentials import Counted, Potential, get_potential
from jeffreysflow.stages import beads, distill, gather, generate, temper, truth
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.ensembles import EnsembleWriter, open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import BeadRow, BeadTruthRow, read_table
from jeffreysflow.streams import Stream
from path_cases import oscillator_truth
from seal_cases import is_provenance

# --- an oscillator, whose low modes are independent Gaussians

BETA, W, MODES, ACTION_BEADS, BEADS = 2.0, 3.0, 5, 32, [8, 12, 16, 24, 32]
GROUPS, EACH = 32, 4096


def experiment(**changes: Any) -> Experiment:
    """Small enough for all stages."""
    level = {
        "theta": 0.5,
        "renyi": 1,
        "levels": "all",
        "network": {"layers": 4, "hidden": 16, "bins": 8},
    }
    flow = level | {"training": {"steps": 40, "batch": 200}, "ensemble": 1000, "islands": 10}
    return Experiment.model_validate(
        {
            "name": "oscillator",
            "title": "an oscillator",
            "scale": "test",
            "seed": 4,
            "device": "cpu",
            "potential": {"name": "quantum_harmonic", "parameters": {"frequency": W}},
            "observables": ["x1", "x1**2", "cos(x1)"],
            "profiles": [{"expression": "x1", "lower": -1.5, "upper": 1.5, "bins": 12}],
            "truth": {},
            "path_integral": {
                "beta": BETA,
                "modes": MODES,
                "action_beads": ACTION_BEADS,
                "beads": BEADS,
            },
            "references": {
                "classical": {
                    "target": "classical",
                    "ladder": {"kind": "fixed", "values": [0, 0.2, 1]},
                    "walkers": 50,
                    "warmup_rounds": 50,
                    "rounds": 20,
                    "local_steps": 3,
                }
            },
            "flows": {
                "first": {"reference": "classical", **flow},
                "second": {"reference": "first", **flow},
                "direct": {"reference": "second", **flow, "levels": "last"},
            },
            "generation": {
                "base_points": "sobol",
                "samples": 16 * 512,
                "scramblings": 16,
                "batch": 512,
            },
            **changes,
        }
    )


OSCILLATOR = experiment()


OSCILLATION = get_potential("quantum_harmonic", frequency=W)


def low_modes(n: int, seed: int, dimension: int = 1, assumed: float = W) -> Ensemble:
    """Independent low modes of the ring of 32 beads, of log weights for the density of an
    oscillator of frequency ``assumed``."""
    omega_squared = frequencies(ACTION_BEADS, BETA)[:MODES].square()
    normal = Stream(seed, "low modes").normal(n, MODES, dimension)
    xi = (normal * (omega_squared + W**2).rsqrt()[:, None]).flatten(1)
    stiffness = (omega_squared + assumed**2).repeat_interleave(dimension)
    log_q = 0.5 * (stiffness / (2 * math.pi)).log().sum() - 0.5 * xi.square() @ stiffness
    # how the energy of a sample is split, and what it is, does not matter to the paths
    U_0, V = torch.full((n,), 0.3, dtype=torch.float64), xi[:, 0].square()
    return Ensemble(xi, -U_0 - V - log_q, U_0, V)


def stored(layout: Layout, of: Experiment, low: Ensemble) -> None:
    """Low modes as if a flow had generated them."""
    files, hash = layout.flow("second").generated, of.generation_hash("second")
    writer = EnsembleWriter(
        files / "store.zarr", "generated", hash, len(low.x), low.x.shape[1], scramblings=GROUPS
    )
    writer.write(low)
    writer.close()
    write_record(files / "done.json", "generate", hash, time.time())


def rows_of(folder: Path, of: Experiment, low: Ensemble) -> list[BeadRow]:
    layout = Layout(folder, of.name)
    stored(layout, of, low)
    truth.run(layout, of)
    beads.run(layout, of, "second")
    return read_table(layout.flow("second").beads, BeadRow)


def a_profile() -> Profile:
    return Profile(parse_observable("x1", 1), -1.5, 1.5, 12)


def worst_z(rows: list[BeadRow]) -> float:
    """The largest deviation from an exact value in its own standard errors; rare bins left out."""
    known = [
        row
        for row in rows
        if row.exact is not None
        and not (row.quantity.startswith("profile:") and row.exact < 1e-3)
        # a distance is not normal about its exact value where noise is most of it
        and not (row.quantity == "distance_from_quantum" and row.exact < 5 * row.stderr)
    ]
    # where all weights are equal the evidence is exact to rounding
    return max(abs(row.value - row.exact) / ((row.stderr or 0.0) + 1e-9) for row in known)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[BeadRow]:
    return rows_of(tmp_path_factory.mktemp("exact"), OSCILLATOR, low_modes(GROUPS * EACH, 1))


def only(rows: list[BeadRow], beads: int, action: str, quantity: str) -> BeadRow:
    (found,) = [
        row for row in rows if row[:3:2] == (beads, quantity) and row.action.startswith(action)
    ]
    return found


def test_every_estimate_is_exact_at_every_number_of_beads(rows: list[BeadRow]) -> None:
    finite = [row for row in rows if row.beads]
    assert {(row.beads, row.action) for row in finite} == {
        (N, action) for N in BEADS for action in ("primitive", "takahashi_imada")
    }
    known = {row.quantity for row in finite if row.exact is not None}
    assert {"observable:x1", "observable:x1**2", "energy", "heat_capacity", "log_z"} <= known
    assert {"potential_energy", "kinetic_thermodynamic", "kinetic_virial"} <= known
    assert {f"profile:x1:{i}" for i in range(12)} <= known
    assert worst_z(finite) < 4.5


@pytest.mark.parametrize("N", BEADS)
def test_estimates_against_closed_forms(rows: list[BeadRow], N: int) -> None:
    square, energy, capacity = oscillator_truth(N, BETA, W, 1)
    for quantity, exact in (
        ("observable:x1", 0.0),
        ("observable:x1**2", square),
        ("potential_energy", 0.5 * W**2 * square),
        ("kinetic_virial", energy - 0.5 * W**2 * square),
        ("kinetic_thermodynamic", energy - 0.5 * W**2 * square),
        ("energy", energy),
        ("heat_capacity", capacity),
    ):
        row = only(rows, N, "primitive", quantity)
        assert abs(row.value - exact) < 4.5 * row.stderr, quantity
        if row.exact is not None:
            assert row.exact == pytest.approx(exact, abs=1e-7)


def test_a_wrong_density_and_another_temperature_are_seen(tmp_path: Path) -> None:
    few = GROUPS * 512
    assert worst_z(rows_of(tmp_path / "right", OSCILLATOR, low_modes(few, 1))) < 4.5
    wrong = low_modes(few, 1, assumed=1.1 * W)
    assert worst_z(rows_of(tmp_path / "wrong", OSCILLATOR, wrong)) > 10
    # exact values of one temperature, paths of another
    layout, low = Layout(tmp_path / "hot", "oscillator"), low_modes(few, 1)
    truth.run(layout, OSCILLATOR)
    ring = OSCILLATOR.path_integral
    assert ring is not None
    hot = OSCILLATOR.model_copy(
        update={"path_integral": ring.model_copy(update={"beta": 0.9 * BETA})}
    )
    stored(layout, hot, low)
    beads.run(layout, hot, "second")
    assert worst_z(read_table(layout.flow("second").beads, BeadRow)) > 10


@pytest.mark.parametrize("w", [W, 2 * W])
def test_ess_of_both_references_of_the_added_modes(w: float) -> None:
    """With low modes and curvature exact all weights are equal; plain loses what is known."""
    V = get_potential("quantum_harmonic", frequency=w, dimension=2)
    omega_squared = frequencies(ACTION_BEADS, BETA).square()
    exact, plain = omega_squared + w**2, omega_squared[MODES:] + 1
    xi = Stream(2, "low").normal(20_000, MODES, 2) * exact[:MODES].rsqrt()[:, None]
    log_q = 0.5 * (exact[:MODES] * (-xi.square().sum(dim=2)) + 2 * exact[:MODES].log()).sum(dim=1)
    zero = torch.zeros_like(log_q)
    low = Ensemble(xi.flatten(1), -log_q, zero, zero)
    ring = PathIntegralConfig(
        beta=BETA, modes=MODES, action_beads=ACTION_BEADS, beads=[ACTION_BEADS]
    )
    ess = bead_sums(V, ring, Measured((), ()), low, ACTION_BEADS, Stream(3, "high")).ess
    assert ess["curvature"] == pytest.approx(1, abs=1e-9)
    # (E w)^2 / E w^2 of one Gaussian drawn from another, by coordinate
    ratio = plain / exact[MODES:]
    known = float((ratio * (2 - ratio)).sqrt().prod()) ** 2
    assert ess["plain"] == pytest.approx(known, abs=4.5 * math.sqrt(known * (1 - known) / 20_000))
    assert known < 0.99


@pytest.mark.parametrize("reference", ["plain", "curvature"])
def test_two_dimensions_and_both_references_give_the_same_averages(reference: str) -> None:
    V = get_potential("quantum_harmonic", frequency=W, dimension=2)
    measured = Measured(parse_observables(["x2**2", "x1*x2"], 2), ())
    ring = PathIntegralConfig(
        beta=BETA, modes=MODES, action_beads=ACTION_BEADS, beads=[16], added_modes=reference
    )
    low = low_modes(16 * 1024, 5, dimension=2)
    groups = [
        bead_sums(V, ring, measured, low.rows(slice(start, start + 1024)), 16, Stream(6, start))
        for start in range(0, len(low.x), 1024)
    ]
    table = BeadTable(V, BETA, measured, [])
    table.add(16, groups)
    square, energy, capacity = oscillator_truth(16, BETA, W, 2)
    for quantity, exact in (
        ("observable:x2**2", square),
        ("observable:x1*x2", 0.0),
        ("energy", energy),
        ("heat_capacity", capacity),
        ("kinetic_thermodynamic", 0.5 * energy),
    ):
        row = only(table.rows, 16, "primitive", quantity)
        assert abs(row.value - exact) < 4.5 * row.stderr, quantity


def test_a_sample_without_weight_changes_nothing() -> None:
    V, measured = get_potential("quantum_harmonic", frequency=W), Measured((), ())
    ring = OSCILLATOR.path_integral
    assert ring is not None
    low = low_modes(500, 7)
    lost = low.log_weights.clone()
    lost[100:] = -torch.inf
    sums = bead_sums(V, ring, measured, low._replace(log_weights=lost), 16, Stream(8, "high"))
    part = bead_sums(V, ring, measured, low.rows(slice(100)), 16, Stream(8, "high"))
    torch.testing.assert_close(sums.primitive.means, part.primitive.means)
    torch.testing.assert_close(sums.fourth.means, part.fourth.means)
    assert sums.ess["curvature"] == pytest.approx(part.ess["curvature"] / 5)


@pytest.mark.parametrize("reference", ["plain", "curvature"])
def test_two_evaluations_a_bead_serve_all_estimates(reference: str) -> None:
    """One for the paths of each reference of the added modes, and one a path for the curvature at
    its centroid, however many observables and profiles there are."""
    names = ["x1", "U", "x1 * U", "exp(-U)", "U < 1", "x1 < 0"]
    measured = Measured(parse_observables(names, 1), [a_profile(), a_profile()])
    ring = PathIntegralConfig(
        beta=BETA, modes=MODES, action_beads=ACTION_BEADS, beads=[24], added_modes=reference
    )
    V, low = Counted(OSCILLATION), low_modes(300, 17)
    bead_sums(V, ring, measured, low, 24, Stream(18, "high"))
    assert V.tally.count == (2 * 24 + 1) * 300


def test_observables_of_the_energy_have_their_whole_gradient() -> None:
    """``dO/dU grad V`` is a part of it: x1**2 in terms of V is x1**2."""
    ring = OSCILLATOR.path_integral
    assert ring is not None
    names = [f"U / {0.5 * W**2}", "x1**2"]
    measured, low = Measured(parse_observables(names, 1), ()), low_modes(500, 19)
    sums = bead_sums(OSCILLATION, ring, measured, low, 16, Stream(20, "high"))
    for of in (sums.primitive, sums.fourth):
        torch.testing.assert_close(of.means[0], of.means[1], rtol=1e-12, atol=0)
    # negative control: the correction is no small thing
    gap = sums.fourth.means[1] - sums.primitive.means[1]
    assert abs(float(gap)) > 1e-6


def test_slabs_add_up_to_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many paths are looked at together, sums and effective sizes are those of the group,
    and so are the normal numbers of the added modes."""
    measured = Measured(parse_observables(["x1**2", "x1 < 0"], 1), [a_profile()])
    ring = OSCILLATOR.path_integral
    assert ring is not None
    low = low_modes(1000, 11, assumed=1.3 * W)

    def sums() -> BeadSums:
        return bead_sums(OSCILLATION, ring, measured, low, 24, Stream(12, "high"))

    whole = sums()
    monkeypatch.setattr(bead_sums_module, "_COORDINATES", 24 * 130)
    parts = sums()
    for name in ("primitive", "fourth"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert one.n == other.n == 1000
        torch.testing.assert_close(one.means, other.means, rtol=1e-12, atol=1e-14)
        assert one.log_z == pytest.approx(other.log_z, abs=1e-12)
    for reference, ess in whole.ess.items():
        assert parts.ess[reference] == pytest.approx(ess, abs=1e-12)
    # negative control: a mean of the effective sizes of slabs is larger
    slabs = [low.rows(slice(start, start + 130)) for start in range(0, 910, 130)]
    each = [
        bead_sums(OSCILLATION, ring, measured, slab, 24, Stream(12, "high")).ess["curvature"]
        for slab in slabs
    ]
    assert sum(each) / len(each) > whole.ess["curvature"] + 1e-3


class _Walled(Potential):
    """An oscillator with another energy, ``beyond``, where x1 > 0.4."""

    def __init__(self, beyond: float) -> None:
        super().__init__()
        self.domain, self.beyond = OSCILLATION.domain, beyond

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] > 0.4, self.beyond, OSCILLATION.energy(x))


def test_beyond_a_wall_paths_have_no_weight() -> None:
    measured, ring = Measured(parse_observables(["log(1 - x1)"], 1), ()), OSCILLATOR.path_integral
    assert ring is not None
    low = low_modes(4000, 13)
    sums = bead_sums(_Walled(math.inf), ring, measured, low, 16, Stream(14, "high"))
    assert bool(torch.isfinite(sums.primitive.means).all())
    assert bool(torch.isfinite(sums.fourth.means).all())
    assert sums.ess["curvature"] < 0.9
    assert float(sums.primitive.means[0]) > math.log(0.6)


@pytest.mark.parametrize(
    ("beyond", "observable", "message"),
    [
        (math.nan, "x1", r"the potential is nan at x = \[0\.[4-9]\d*\]"),
        (-math.inf, "x1", r"the potential is -inf at x = "),
        (3.0, "log(x1)", r"observable 'log\(x1\)' is not finite at x = \[-"),
    ],
)
def test_what_has_no_value_is_named(beyond: float, observable: str, message: str) -> None:
    measured, ring = Measured(parse_observables([observable], 1), ()), OSCILLATOR.path_integral
    assert ring is not None
    with pytest.raises(UserError, match=message):
        bead_sums(_Walled(beyond), ring, measured, low_modes(500, 15), 16, Stream(16, "high"))


def test_what_has_no_gradient_has_no_fourth_order(tmp_path: Path) -> None:
    of = experiment(observables=["x1 < 0", "x1**2"])
    rows = rows_of(tmp_path, of, low_modes(GROUPS * 64, 1))
    found = {row.action for row in rows if row.beads and row.quantity == "observable:x1 < 0"}
    assert found == {"primitive"}
    row = only(rows, 8, "primitive", "observable:x1 < 0")
    assert row.exact == pytest.approx(0.5, abs=1e-9)
    assert only(rows, 8, "takahashi_imada", "observable:x1**2").exact is not None


def test_fourth_order_is_closer_to_the_limit(rows: list[BeadRow]) -> None:
    for N in (8, 12):
        primitive = only(rows, N, "primitive", "distance_from_quantum")
        fourth = only(rows, N, "takahashi_imada", "distance_from_quantum")
        assert fourth.exact < primitive.exact / 5
        assert fourth.value + 4.5 * fourth.stderr < primitive.value - 4.5 * primitive.stderr


def test_the_limit_of_many_beads(rows: list[BeadRow]) -> None:
    limits = [row for row in rows if row.beads == 0]
    assert {row.quantity for row in limits} == {
        *("energy", "potential_energy", "kinetic_virial"),
        *("observable:x1", "observable:x1**2", "observable:cos(x1)"),
    }
    for row in limits:
        assert row.action.startswith("primitive order ")
        assert abs(row.value - row.exact) < 4.5 * row.stderr
        # the part that is the fit's is not all of it, nor free of charge
        assert 0 < row.fit_error < row.stderr
        assert row.dof >= 0.5 * (GROUPS - 1)
    energy = only(limits, 0, "primitive", "energy")
    assert energy.exact == pytest.approx(0.5 * W / math.tanh(0.5 * BETA * W), abs=1e-6)
    # negative control: sixteen beads are not the limit
    sixteen = only(rows, 16, "primitive", "energy")
    assert abs(sixteen.value - energy.exact) > 4.5 * sixteen.stderr


def test_errors_of_the_limit_know_that_low_modes_are_shared() -> None:
    """Errors are those of repetitions; of values taken as independent they would not be."""
    repeats, groups, near = 120, 10, torch.tensor([12.0, 14.0, 16.0], dtype=torch.float64)
    limits, squares, naive = [], [], []
    for repeat in range(repeats):
        shared, own = Stream(9, repeat).normal(groups, 1), Stream(10, repeat).normal(groups, 3)
        values = 1 + 5 / near.square() + shared + 0.1 * own
        table = BeadTable(OSCILLATION, 1.0, Measured((), ()), [])
        for N, column in zip(near.tolist(), values.T, strict=True):
            table.add(int(N), [_group(value) for value in column])
        table.add_limit()
        row = only(table.rows, 0, "primitive order 1", "energy")
        limits.append(row.value)
        squares.append(row.stderr**2 - row.fit_error**2)
        naive.append(_independent_error(values) ** 2)
    spread = float(torch.tensor(limits).var())
    margin = 4.5 * math.sqrt(2 / repeats) * (1 + 1 / math.sqrt(groups))
    assert abs(spread / torch.tensor(squares).mean() - 1) < margin
    assert abs(spread / torch.tensor(naive).mean() - 1) > margin


def _group(value: torch.Tensor) -> BeadSums:
    """One path whose energies are all ``value``."""
    zero = torch.zeros(1, dtype=torch.float64)
    sums = [WeightedSums.of(zero, value.expand(1, columns)) for columns in (6, 2)]
    return BeadSums(*sums, {"plain": 1.0}, tuple(ESTIMATORS), tuple(FOURTH_ORDER))


def _independent_error(values: torch.Tensor) -> float:
    """Standard error at 1/N^2 = 0 of a straight line, N = 12, 14, 16 taken as independent."""
    s = values.std(dim=0) / math.sqrt(len(values))
    N = torch.tensor([12.0, 14.0, 16.0], dtype=torch.float64)
    design = torch.stack([torch.ones_like(N), N**-2.0], dim=1) / s[:, None]
    return float(torch.linalg.inv(design.T @ design)[0, 0].sqrt())


def test_what_never_varies_has_no_limit() -> None:
    table = BeadTable(OSCILLATION, 1.0, Measured((), ()), [])
    for N in (8, 12, 16):
        table.add(N, [_group(torch.tensor(2.0, dtype=torch.float64)) for _ in range(4)])
    table.add_limit()
    assert [row for row in table.rows if row.beads == 0] == []


@pytest.mark.parametrize(("groups", "known"), [(7, False), (8, True)])
def test_fewer_than_eight_groups_tell_no_error(groups: int, known: bool) -> None:
    table = BeadTable(OSCILLATION, 1.0, Measured((), ()), [])
    for N in (8, 12, 16):
        noise = 5 + Stream(17, N).normal(groups)
        table.add(N, [_group(value) for value in noise])
    table.add_limit()
    for N, action in ((8, "primitive"), (8, "takahashi_imada"), (0, "primitive order 1")):
        row = only(table.rows, N, action, "energy")
        assert math.isnan(row.stderr) != known
        assert math.isnan(row.dof) != known
        assert row.value == pytest.approx(5, abs=4)
    if known:
        assert only(table.rows, 8, "primitive", "energy").dof <= groups - 1


def test_an_event_has_the_errors_of_the_groups_that_met_it() -> None:
    """None where there are none, and few degrees of freedom where there are few."""
    measured = Measured(parse_observables(["x1 > 9", "x1 < 9", "x1 > 0"], 1), ())
    ring = OSCILLATOR.path_integral
    assert ring is not None
    groups = [
        bead_sums(OSCILLATION, ring, measured, low_modes(64, 20 + g), 8, Stream(18, g))
        for g in range(16)
    ]
    table = BeadTable(OSCILLATION, BETA, measured, [])
    table.add(8, groups)
    for name, value in (("x1 > 9", 0.0), ("x1 < 9", 1.0)):
        row = only(table.rows, 8, "primitive", f"observable:{name}")
        assert row.value == value
        assert math.isnan(row.stderr)
    row = only(table.rows, 8, "primitive", "observable:x1 > 0")
    assert abs(row.value - 0.5) < 4.5 * row.stderr
    assert 5 < row.dof <= 15


# --- all stages


def run_all(folder: Path, of: Experiment = OSCILLATOR) -> Layout:
    layout = Layout(folder, of.name)
    temper.run(layout, of, "classical")
    gather.run(layout, of, "classical")
    truth.run(layout, of)
    for flow in ("first", "second"):
        for level in (1, 2):
            distill.run(layout, of, flow, level)
        generate.run(layout, of, flow)
        beads.run(layout, of, flow)
    return layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return run_all(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("flow", ["first", "second"])
def test_the_stages_from_classical_tempering_to_quantum_averages(layout: Layout, flow: str) -> None:
    rows = read_table(layout.flow(flow).beads, BeadRow)
    assert worst_z([row for row in rows if row.beads]) < 4.5
    for N in BEADS:
        assert only(rows, N, "primitive", "ess").value > 0.5
        plain, curvature = (
            only(rows, N, "primitive", f"ess_{name}").value for name in ("plain", "curvature")
        )
        assert plain < curvature
    # the classical limit is another answer, so it was not what came out
    exact = read_table(layout.bead_truth, BeadTruthRow)
    (classical,) = [row.value for row in exact if row[:3] == (1, "classical", "observable:x1**2")]
    square = only(rows, 32, "primitive", "observable:x1**2")
    assert abs(square.value - classical) > 10 * square.stderr


def test_the_second_flow_is_trained_from_the_ensembles_of_the_first(layout: Layout) -> None:
    hash = OSCILLATOR.flow_hash("first")
    for level in (1, 2):
        file = layout.flow("first").level(level) / "ensemble.zarr"
        ensemble = open_ensemble(file, "ensemble", hash).samples().x
        *_, reference = distill._task(layout, OSCILLATOR, "second", level)
        sides = [side for side in reference.sides if side is not None]
        assert sum(map(len, sides)) == len(ensemble)
        training, *held_out = ({tuple(x) for x in side.tolist()} for side in sides)
        assert training.union(*held_out) <= {tuple(x) for x in ensemble.tolist()}
        assert not training.intersection(*held_out)


def test_one_flow_is_trained_from_the_last_ensemble(layout: Layout, tmp_path: Path) -> None:
    tempered, sequence = layout.reference("classical").folder, layout.flow("second").folder
    layout = Layout(tmp_path, OSCILLATOR.name)
    shutil.copytree(tempered, layout.reference("classical").folder)
    shutil.copytree(sequence, layout.flow("second").folder)
    distill.run(layout, OSCILLATOR, "direct", 1)
    record = read_record(layout.flow("direct").level(1) / "done.json")
    assert record["lam"] == 1.0
    assert record["cess"] > record["cess_identity"] + 0.2
    # it is the last level that it is made from: without it there is nothing to learn
    shutil.rmtree(layout.flow("second").level(2))
    shutil.rmtree(layout.flow("direct").level(1))
    with pytest.raises(UserError, match=r"flows/second/level_2: .*done\.json is missing"):
        distill.run(layout, OSCILLATOR, "direct", 1)


def test_the_same_bits_again(layout: Layout, tmp_path: Path) -> None:
    again = run_all(tmp_path)
    found, expected = _files(again.folder), _files(layout.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    before = layout.flow("second").beads.read_bytes()
    beads.run(layout, OSCILLATOR, "second")
    assert layout.flow("second").beads.read_bytes() == before


def _files(folder: Path) -> dict[str, bytes]:
    """All that must be the same bits; records hold times."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not is_provenance(file)
    }


def test_what_is_missing_is_named(layout: Layout, tmp_path: Path) -> None:
    tempered, layout = layout.reference("classical").folder, Layout(tmp_path, OSCILLATOR.name)
    shutil.copytree(tempered, layout.reference("classical").folder)
    with pytest.raises(UserError, match=r"flows/first/level_1: .*done\.json is missing"):
        distill.run(layout, OSCILLATOR, "second", 1)
    stored(layout, OSCILLATOR, low_modes(GROUPS * 8, 1))
    with pytest.raises(UserError, match=r"bead_truth\.csv"):
        beads.run(layout, OSCILLATOR, "second")
    well = experiment(
        path_integral=None,
        references={
            "classical": {
                **OSCILLATOR.references["classical"].model_dump(),
                "target": "potential",
            }
        },
    )
    with pytest.raises(UserError, match="has no path_integral, so no beads"):
        beads.run(layout, well, "second")


def test_the_exact_limits_are_beside_the_exact_finite_values(layout: Layout) -> None:
    rows = read_table(layout.bead_truth, BeadTruthRow)
    of = {row[:3]: row.value for row in rows}
    assert of[0, "quantum", "energy"] == pytest.approx(0.5 * W / math.tanh(0.5 * BETA * W))
    assert of[1, "classical", "observable:x1**2"] == pytest.approx(1 / (BETA * W**2))
    bins = [row for row in rows if row.quantity.startswith("profile:")]
    assert {row.action for row in bins} == {"quantum", "classical", "primitive"}
