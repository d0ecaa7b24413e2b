"""Exact maps: samples and means of the sequential problems against independent values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from jeffreysflow.analysis import exact_divergence
from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.observables import observable_values, parse_observables
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.potentials import Base, Counted, Potential, get_potential, potential_names
from jeffreysflow.potentials.energies import rosenbrock_4d
from jeffreysflow.potentials.tabled_density import TabledDensity
from jeffreysflow.report.table import exact_text
from jeffreysflow.stages import truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import ExactMeans, exact_means, exact_samples

SAMPLES = 2**16
STEEP = {"a": 600.0, "s": 6.0}

# observable: (value, its standard error or the rounding of its last digit)
Checks = dict[str, tuple[float, float]]
MIXTURE: Checks = {
    "sin(x1)": (-0.005719, 3e-7),
    "cos(x1)": (0.862048, 3e-7),
    "sin(x2)": (0.000052, 3e-7),
    "cos(x2)": (0.896523, 3e-7),
    "sin(x3)": (-0.006641, 3e-7),
    "cos(x3)": (0.861252, 3e-7),
}
RASTRIGIN: Checks = {
    "U": (-82.236, 3e-3),
    "x1**2": (1.2338, 2e-3),
    "x2**2": (1.5805, 2e-3),
    "x3**2": (2.2351, 2e-3),
    "x4**2": (2.9421, 2e-3),
    "x5**2": (3.0759, 3e-3),
    "x6**2": (2.1497, 2e-3),
    "x7**2": (4.1730, 3e-3),
    "x8**2": (2.1925, 2e-3),
}
CASES: dict[str, tuple[str, dict[str, float], Checks, tuple[float, float]]] = {
    "noisy mixture": (
        "noisy_mixture_2d",
        {},
        {"cos(x1)": (0.399957, 3e-7), "tanh(x1)": (0.228809, 3e-7), "sin(x2)": (0.000163, 3e-7)},
        (0.0, 0.0),
    ),
    "mixture": ("gaussian_mixture_3d", {}, MIXTURE, (0.0, 0.0)),
    "rosenbrock": (
        "rosenbrock_4d",
        {},
        {"x1": (0.77286, 3e-6), "x1**2": (0.76600, 3e-6), "x1 < 0": (0.061568, 3e-7)},
        (-6.91860, 3e-6),
    ),
    "steep": (
        "rosenbrock_4d",
        STEEP,
        {"x1": (0.98340, 3e-6), "x1 < 0": (1.04e-8, 3e-11)},
        (-9.69811, 3e-6),
    ),
    "rastrigin": ("rastrigin_8d", {}, RASTRIGIN, (83.4187, 7e-4)),
    "solvated": (
        "solvated_16d",
        {},
        {
            "cos(4*x1)": (-0.697775, 3e-7),
            "sin(x1)**2": (0.5, 0.0),
            "x16**2": (4.033333, 3e-7),
        },
        (-5.61950, 3e-6),
    ),
}
# those of tests/test_many_dimensions.py too
MORE = {"gaussian_mixture_40", "many_well", "phi4_chain", "ten_wells", "two_wells"}
WITH_MAP = sorted(MORE | {name for name, *_ in CASES.values()})


def means_of(potential: Potential, texts: list[str], samples: int = SAMPLES) -> ExactMeans:
    observables = parse_observables(texts, potential.dimension)
    return exact_means(potential, lambda x, U: observable_values(observables, x, U), samples)


def z(value: float, error: float, exact: float, exact_error: float) -> float:
    """Deviation in standard errors; rounding of the last digit counts as one, 1e-14 as none."""
    return (value - exact) / max(math.hypot(error, exact_error), 1e-14)


@pytest.mark.parametrize(
    ("at", "energy"), [((1.0, 2.0, 3.0), 45.549703), ((5.5, 0.2, -0.3), 3.598910)]
)
def test_energy_of_the_mixture_at_its_check_points(
    at: tuple[float, float, float], energy: float
) -> None:
    x = torch.tensor([at], dtype=torch.float64)
    assert float(get_potential("gaussian_mixture_3d").energy(x)) == pytest.approx(energy, abs=6e-7)


@pytest.mark.parametrize("case", CASES)
def test_check_values(case: str) -> None:
    name, parameters, checks, log_Z = CASES[case]
    found = means_of(get_potential(name, **parameters), list(checks))
    columns = (found.means.tolist(), found.errors.tolist(), checks.values())
    for mean, error, check in zip(*columns, strict=True):
        assert abs(z(mean, error, *check)) < 4.5
    assert abs(z(found.log_Z, found.log_Z_error, *log_Z)) < 4.5


def test_means_of_positions_cost_no_energy_beside_the_map() -> None:
    def values(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        return x.square()

    target = get_potential("gaussian_mixture_3d")
    once, twice = Counted(target), Counted(target)
    found = exact_means(once, values, 2048, 4, energies=False)
    assert torch.equal(found.means, exact_means(twice, values, 2048, 4).means)
    assert (once.tally.count, twice.tally.count) == (2048, 4096)


@pytest.mark.parametrize("case", CASES)
def test_errors_are_below_those_of_many_independent_samples(case: str) -> None:
    """Even 65,536 points beat 400,000 independent samples, those of a rare event by far."""
    name, parameters, checks, _ = CASES[case]
    found = means_of(get_potential(name, **parameters), list(checks))
    independent = (found.variances / 400_000).sqrt()
    gain = independent / found.errors
    assert float(gain.log().mean().exp()) > 1.0
    if case == "steep":
        assert float(found.errors[1] / found.means[1]) < 0.01
        assert float(independent[1] / found.means[1]) > 10


def test_errors_are_honest() -> None:
    """Means of the mixture in closed form, E sin x = sin m exp(-var / 2) by component."""
    mixture = get_potential("gaussian_mixture_3d")
    cos, sin = [], []
    covariance = torch.einsum("kij,kj,klj->kil", mixture._axes, mixture._sd**2, mixture._axes)
    for i in range(3):
        m, decay = mixture._means[:, i], (-0.5 * covariance[:, i, i]).exp()
        sin.append(float((m.sin() * decay).mean()))
        cos.append(float((m.cos() * decay).mean()))
    scores = []
    for samples in (2**10, 2**12, 2**14, 2**16):
        found = means_of(mixture, list(MIXTURE), samples)
        exact = torch.tensor([sin, cos], dtype=torch.float64).T.reshape(-1)
        scores.append((found.means - exact) / found.errors)
    scores = torch.cat(scores)
    assert 0.6 < float(scores.square().mean().sqrt()) < 1.4
    assert float(scores.abs().max()) < 4.5


def valley(a: float, s: float) -> tuple[float, float]:
    """P(x1 < 0) and log Z of Rosenbrock's valley by quadrature over x1 and x2 - x1^2."""
    x1 = torch.linspace(-3, 3, 24_001, dtype=torch.float64)[:, None]
    t = torch.linspace(-8, 8, 161, dtype=torch.float64)[None, :] / math.sqrt(2 * a)
    x2 = x1**2 + t
    U = a * t**2 + s * (1 - x1) ** 2 + s * (1 - x2) ** 2 + a * s / (a + s) * (x2**2 - 1) ** 2
    marginal = torch.exp(-U).sum(dim=1)
    left = marginal[:12_000].sum() + 0.5 * marginal[12_000]
    area = float(x1[1] - x1[0]) * float(t[0, 1] - t[0, 0])
    log_Z = float((marginal.sum() * area).log())
    return float(left / marginal.sum()), log_Z + math.log(math.pi / math.sqrt(a * (a + s)))


@pytest.mark.parametrize("parameters", [{}, STEEP, {"a": 3.0, "s": 2.0}, {"a": 1.0, "s": 20.0}])
def test_the_other_arm_against_quadrature(parameters: dict[str, float]) -> None:
    """However rare it is, and where the valley is no valley."""
    probability, log_Z = valley(**{"a": 200.0, "s": 1.0, **parameters})
    found = means_of(get_potential("rosenbrock_4d", **parameters), ["x1 < 0"])
    rounding = 1e-5 * probability
    assert abs(z(float(found.means), float(found.errors), probability, rounding)) < 4.5
    assert found.log_Z == pytest.approx(log_Z, abs=max(4.5 * found.log_Z_error, 1e-7))


def test_without_an_even_share_the_rare_arm_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosenbrock_4d, "_EVEN_SHARE", 0.0)
    found = means_of(get_potential("rosenbrock_4d", **STEEP), ["x1 < 0"])
    assert float(found.means) == float(found.variances) == 0.0


@pytest.mark.parametrize("case", CASES)
def test_independent_samples(case: str) -> None:
    """Their weighted means, log Z and the share of effective samples."""
    name, parameters, checks, _ = CASES[case]
    potential, texts = get_potential(name, **parameters), list(checks)
    exact = means_of(potential, texts)
    x, log_weights = exact_samples(potential, 50_000, Stream(5, "exact", case))
    assert x.shape == (50_000, potential.dimension)
    torch.testing.assert_close(x, potential.domain.wrap(x), rtol=0, atol=1e-15)
    values = observable_values(parse_observables(texts, x.shape[1]), x, potential.energy(x))
    sums = WeightedSums.of(log_weights, values)
    scores = (sums.means - exact.means) / torch.hypot(sums.errors, exact.errors)
    assert float(scores.abs().max()) < 4.5
    assert abs(z(sums.log_z, sums.log_z_error, exact.log_Z, exact.log_Z_error)) < 4.5
    floor = {
        "mixture": 1.0,
        "noisy mixture": 1.0,
        "rosenbrock": 0.9,
        "steep": 0.9,
        "rastrigin": 0.8,
        "solvated": 0.999,
    }
    assert floor[case] - 1e-12 < sums.ess < 1 + 1e-12
    if case == "rastrigin":
        assert sums.ess == pytest.approx(0.818, abs=4e-3)


def test_without_weights_rastrigin_is_wrong() -> None:
    rastrigin = get_potential("rastrigin_8d")
    x, log_weights = exact_samples(rastrigin, 50_000, Stream(6, "exact"))
    values = x.square()
    sums = WeightedSums.of(torch.zeros_like(log_weights), values)
    exact = means_of(rastrigin, [f"x{i + 1}**2" for i in range(8)])
    assert float(((sums.means - exact.means) / sums.errors).abs().max()) > 10


def test_the_twist_is_undone_to_the_last_digits() -> None:
    rastrigin = get_potential("rastrigin_8d")
    x = Stream(7, "x").normal(500, 8) * 3
    z = x + 0.75 * torch.tanh(x @ rastrigin._Q)
    found, log_det = rastrigin._untwisted(z)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(
        lambda y: y + 0.75 * torch.tanh(y @ rastrigin._Q), x[0]
    )
    assert float(log_det[0]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-12)


def test_a_tabled_density_repairs_a_coarse_table_by_its_weights() -> None:
    """Of a Gaussian on 12 nodes: E[x^2] is 1 with weights, and wrong without."""
    nodes = torch.linspace(-9, 9, 13, dtype=torch.float64)
    x, log_density = TabledDensity(nodes, -0.5 * nodes.square()).quantile(
        (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    )
    assert bool((x.diff() >= 0).all())
    density = log_density.exp()
    assert float(0.5 * ((density[1:] + density[:-1]) * x.diff()).sum()) == pytest.approx(1, 1e-3)
    log_weights = -0.5 * x.square() - log_density
    sums = WeightedSums.of(log_weights, x.square()[:, None])
    assert float(sums.means) == pytest.approx(1, abs=1e-3)
    assert sums.log_z == pytest.approx(0.5 * math.log(2 * math.pi), abs=1e-3)
    assert float(x.square().mean()) > 1.2


def test_which_energies_have_a_map() -> None:
    found = [name for name in potential_names() if get_potential(name).exact_inputs is not None]
    assert found == WITH_MAP
    with pytest.raises(UserError, match="no exact map; those that have one: gaussian_mixture_3d"):
        exact_samples(get_potential("three_well"), 10, Stream(0))


def experiment(**changes: Any) -> Experiment:
    content = {
        "name": "x",
        "title": "steep valley",
        "scale": "test",
        "seed": 1,
        "potential": {"name": "rosenbrock_4d", "parameters": STEEP},
        "observables": ["x1", "x1 < 0", "x1 < -9"],
        "truth": {"method": "exact_map", "samples": 2**15},
        "references": {
            "r": {
                "ladder": {"kind": "fixed", "values": [0, 1]},
                "walkers": 4,
                "warmup_rounds": 0,
                "rounds": 4,
            }
        },
        "flows": {"f": {"reference": "r", "theta": 0.5}},
    }
    return Experiment.model_validate({**content, **changes})


def test_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, e = Layout(tmp_path, "x"), experiment()
    truth.run(layout, e)
    rows = {row.observable: row for row in read_table(layout.truth, TruthRow)}
    assert list(rows) == ["x1", "x1 < 0", "log_z"]
    said = capsys.readouterr().out
    assert said == "x: no exact value of 'x1 < -9': the same at all points\n"
    rare = rows["x1 < 0"]
    assert 0 < rare.stderr < 0.05 * rare.value
    assert rare.variance == pytest.approx(rare.value)
    assert abs(z(rare.value, rare.stderr, 1.04e-8, 3e-11)) < 4.5
    assert 0 < rows["log_z"].stderr < 1e-3


def test_an_energy_without_a_map_is_refused_by_validate_and_truth(tmp_path: Path) -> None:
    e = experiment(potential={"name": "three_well"}, observables=["x1"])
    for refused in (lambda: check_experiment(e), lambda: truth.run(Layout(tmp_path, "x"), e)):
        with pytest.raises(UserError, match="truth by exact_map: this potential has no exact map"):
            refused()
    check_experiment(experiment())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 1000}, "exact_map needs samples = scramblings x a power of two"),
        ({"box": [(-4.0, 4.0)] * 4}, "'box' belongs to method 'quadrature'"),
        ({"method": "exactmap"}, "'quadrature' or 'exact_map'"),
    ],
)
def test_bad_sections(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TruthConfig.model_validate({"method": "exact_map", **changes})


class Identity:
    """A flow that leaves samples where they are."""

    invertible, pulls, normals, rows_at_once = True, True, 0, 20_000

    def pulled(self, y: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return y, torch.zeros_like(y[:, 0])


def test_divergence_over_weighted_exact_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D of the identity is E[U_base - U_M] under the target."""
    monkeypatch.setattr(exact_divergence, "load_flow", lambda file, hash: Identity())
    e = experiment(potential={"name": "rastrigin_8d"}, base={"sd": 1.5}, observables=["U"])
    found = exact_divergence.exact_divergence(Layout(tmp_path, "x"), e, "f")
    assert found is not None
    potential = get_potential("rastrigin_8d")
    base = Base(potential.domain, sd=1.5)
    exact = exact_means(potential, lambda x, U: (base.energy(x) - U)[:, None], SAMPLES)
    assert abs(z(found.value, found.error, float(exact.means), float(exact.errors))) < 4.5


def test_exact_values_are_shown_with_errors_worth_showing() -> None:
    def text(value: float | None, error: float | None) -> str:
        return exact_text(EstimateRow(1, "U", 1.0, 0.1, value, None, error))

    assert text(-82.23705, 3e-4) == "−82.23705 ± 0.00030"
    assert text(1.0397e-8, 2.7e-12) == "(1.03970 ± 0.00027) × 10⁻⁸"
    assert text(-0.69777468, 1e-8) == "−0.697775"
    assert text(0.27, 0.0) == "0.270000"
    assert text(-1e-17, 0.0) == "0"
    assert text(None, None) == exact_text(None) == "–"
