"""Fitted bases: normalised, sampled exactly, as good as what they are fitted to allows."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import vonmises

from jeffreysflow.analysis.base_weights import weighed
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.fit_base import fit_base
from jeffreysflow.estimation.fit_circles import coupled_pairs, fit_circles
from jeffreysflow.estimation.fit_lines import fit_lines
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.circle_mixture import CircleMixture, von_mises_quantile
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.report.data import Results
from jeffreysflow.report.flow_tables import flow_table
from jeffreysflow.stages import base as base_stage
from jeffreysflow.stages import distill, estimate, gather, generate, truth
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.fitted_bases import load_base, save_base
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from sample_cases import experiment_of

# a line, a circle in degrees, a coordinate between walls, and a circle in radian
DOMAIN = Domain((None, (0.0, 360.0), None, (-math.pi, math.pi)), (None, None, (1.0, 3.0), None))


def t(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def a_pair() -> CircleMixture:
    means = t([[1.0, -2.0], [-1.0, 1.5], [0.0, 0.0]])
    return CircleMixture(t([0.6, 0.3, 0.1]), means, t([[8.0, 3.0], [40.0, 5.0], [0.0, 0.0]]))


def lines(p: int = 2) -> LineMixture:
    factors = torch.eye(p).double().repeat(2, 1, 1) * 0.7
    factors[1, 1, 0] = 0.9
    return LineMixture(t([0.7, 0.3]), t([[0.0] * p, [1.5] * p]), factors)


def a_base() -> FittedBase:
    return FittedBase(DOMAIN, lines(), [[1, 3]], [a_pair()])


def test_it_is_normalised() -> None:
    n = 400
    middle = (torch.arange(n).double() + 0.5) / n
    # the line, and between the walls by the variable in which the density is smooth there
    line, y = 20 * middle - 10, 18 * middle - 9
    wall = 1 + 2 * torch.special.ndtr(y)
    slope = 2 * (-0.5 * y.square()).exp() / math.sqrt(2 * math.pi)
    on_lines = FittedBase(Domain((None, None), (None, (1.0, 3.0))), lines(), [], [])
    density = (-on_lines.energy(torch.cartesian_prod(line, wall))).exp().reshape(n, n)
    assert float((density * slope).sum() * 20 * 18 / n**2) == pytest.approx(1, abs=1e-6)
    on_circles = FittedBase(Domain(((0.0, 360.0), (-math.pi, math.pi))), None, [[0, 1]], [a_pair()])
    x = torch.cartesian_prod(360 * middle, 2 * math.pi * middle - math.pi)
    mean = float((-on_circles.energy(x)).exp().mean())
    assert mean * 360 * 2 * math.pi == pytest.approx(1, abs=1e-12)
    # a base of all of them is their product
    x = a_base().sample(20, Stream(1, "x"))
    parts = on_lines.energy(x[:, [0, 2]]) + on_circles.energy(x[:, [1, 3]])
    torch.testing.assert_close(a_base().energy(x), parts)


def test_samples_have_the_density() -> None:
    """Averages over samples, iid and Sobol, against integrals over the mixtures themselves."""
    base, n = a_base(), 1 << 14
    pair = base.circles[0]
    assert isinstance(pair, CircleMixture)
    exact = []
    for j in (0, 1):
        for name in ("cos", "sin"):
            of = {"cos": torch.cos, "sin": torch.sin}[name](pair.means[:, j])
            ratio = t(np.array([vonmises(max(k, 1e-12)).expect(np.cos) for k in pair.kappas[:, j]]))
            exact.append(float((pair.weights * of * ratio).sum()))
    exact.append(float(lines().mean[0]))
    exact.append(float(lines().sd[0] ** 2 + lines().mean[0] ** 2))

    def measured(x: torch.Tensor) -> torch.Tensor:
        a = x[:, 1] * 2 * math.pi / 360 - math.pi
        columns = [a.cos(), a.sin(), x[:, 3].cos(), x[:, 3].sin(), x[:, 0], x[:, 0] ** 2]
        return torch.stack(columns, dim=1)

    values = measured(base.sample(n, Stream(1, "samples")))
    error = values.std(dim=0) / math.sqrt(n)
    assert bool(((values.mean(dim=0) - t(exact)).abs() < 4 * error).all())
    sobol = measured(torch.cat(list(sobol_base_points(base, n, n, 3, "points"))))
    # far better than independent ones, and not by chance
    assert bool(((sobol.mean(dim=0) - t(exact)).abs() < error / 3).all())
    # the density itself: E[1 / p] over samples is the volume where there is any, as a ratio of two
    x = base.sample(n, Stream(2, "samples"))
    other = FittedBase(DOMAIN, lines(), [[1], [3]], [_flat(), _flat()])
    ratio = (base.energy(x) - other.energy(x)).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(n)
    # the control: the density of another base is not that of these samples
    wrong = (other.energy(other.sample(n, Stream(3, "samples"))) * 0.9).exp()
    assert float(wrong.mean()) > 2


def _flat() -> CircleMixture:
    return CircleMixture(t([1.0]), t([[0.0]]), t([[0.0]]))


@pytest.mark.parametrize("kappa", [0.3, 5.0, 900.0, 9000.0])
def test_quantiles_of_von_mises(kappa: float) -> None:
    u = torch.linspace(1e-6, 1 - 1e-6, 201, dtype=torch.float64)
    angle = von_mises_quantile(u, kappa)
    assert float(angle.abs().max()) <= math.pi
    if kappa < 500:
        # from there on scipy's own is an approximation
        np.testing.assert_allclose(vonmises(kappa).cdf(angle.numpy()), u.numpy(), atol=1e-12)
    else:
        z = torch.special.ndtri(u) / math.sqrt(kappa)
        np.testing.assert_allclose(angle, z, atol=2 * float(z.abs().max()) ** 3)


def test_gradients_are_those_of_the_energy() -> None:
    base = a_base()
    x = base.sample(5, Stream(4, "gradient")).requires_grad_()
    assert torch.autograd.gradcheck(base.energy, x)
    energy, gradient = base.energy_and_gradient(x.detach())
    (expected,) = torch.autograd.grad(base.energy(x).sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert not energy.requires_grad


def test_a_mixture_of_circles_is_found_again() -> None:
    true = a_pair()
    stream = Stream(5, "fit")
    x, fresh = (true.quantile(stream.uniform(n, 2).clamp(1e-12)) for n in (6000, 3000))
    fitted = fit_circles(x, fresh, 32, stream)
    gap = true.log_density(fresh) - fitted.log_density(fresh)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(fresh)) + 0.01
    # the control: without their coupling
    alone = [fit_circles(x[:, [j]], fresh[:, [j]], 32, stream) for j in (0, 1)]
    apart = sum(each.log_density(fresh[:, [j]]) for j, each in enumerate(alone))
    assert float((true.log_density(fresh) - apart).mean()) > 0.1


def test_circles_that_know_of_each_other_are_paired() -> None:
    stream = Stream(6, "pairs")
    pair = a_pair().quantile(stream.uniform(4000, 2).clamp(1e-12))
    others = stream.uniform(4000, 2) * 6
    x = torch.cat([others[:, :1], pair[:, :1], others[:, 1:], pair[:, 1:]], dim=1)
    assert coupled_pairs(x) == [(1, 3)]
    assert coupled_pairs(others) == []


def test_a_mixture_of_gaussians_is_found_again() -> None:
    true, stream = lines(), Stream(7, "fit")
    x, fresh = (true.quantile(stream.uniform(n, 2).clamp(1e-12)) for n in (6000, 3000))
    gap = true.log_density(fresh) - fit_lines(x, fresh, 8, stream).log_density(fresh)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(fresh)) + 0.01


class _Correlated(Potential):
    """A Gaussian in 4 dimensions, of which pairs have a correlation of .95."""

    domain = Domain.euclidean(4)

    def __init__(self) -> None:
        super().__init__()
        block = torch.tensor([[1.0, 0.95], [0.95, 1.0]]).double()
        self.factor = torch.linalg.cholesky(torch.block_diag(block, block))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.linalg.solve_triangular(self.factor.to(x), x.T, upper=False)
        return 0.5 * z.square().sum(dim=0)


def test_what_can_be_fitted_needs_no_flow() -> None:
    target = _Correlated()
    x = Stream(8, "x").normal(20_000, 4) @ target.factor.T
    base = fit_base(
        x[:18_000], x[18_000:], target.domain, None, 8, 8, lambda purpose: Stream(8, purpose)
    )
    found = weighed(AnnealingPath(base, target), 1.0, 1 << 13, Stream(8, "weighed"))
    log_z = 2 * math.log(2 * math.pi) + float(target.factor.diagonal().log().sum())
    assert found["ess"] > 0.99
    assert abs(found["log_z"] - log_z) < 4 * found["log_z_error"]
    # the control: with independent coordinates
    plain = weighed(AnnealingPath(Base(target.domain), target), 1.0, 1 << 13, Stream(8, "weighed"))
    assert plain["ess"] < 0.3


def test_it_is_kept_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    base, file = a_base(), tmp_path / "base.safetensors"
    save_base(file, base, "hash")
    x = base.sample(50, Stream(9, "x"))
    assert bool((load_base(file, DOMAIN, "hash").energy(x) == base.energy(x)).all())
    with pytest.raises(UserError, match="made from another configuration"):
        load_base(file, DOMAIN, "other")
    with pytest.raises(UserError, match="not a base"):
        load_base(file, Domain.torus(4), "hash")
    with pytest.raises(UserError, match="no such file"):
        load_base(tmp_path / "none", DOMAIN)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"base\.safetensors"):
        load_base(file, DOMAIN, "hash")


ENERGY = """
import torch

dimension = 3
periodic = {1: (-torch.pi, torch.pi), 2: (-torch.pi, torch.pi)}


def energy(x):
    a, b = x[:, 1], x[:, 2]
    return 2 * (x[:, 0] - 1) ** 2 - 2 * torch.cos(a - b) - torch.cos(2 * a)
"""
BODY = """
title: a fitted base
potential: {{file: energy.py}}
base: {{kind: fitted, sd: 2{more}}}
observables: [x1]
references:
  r:
    kind: samples
    files:
{files}
flows:
  f:
    reference: r
    theta: 0.5
    renyi: 1
    network: {{layers: 2, hidden: 8, bins: 4}}
    training: {{steps: 4, batch: 100, learning_rate: 1e-9}}
    ensemble: 4000
generation: {{samples: 8192, base_points: sobol, scramblings: 16}}
"""


def samples() -> np.ndarray:
    rng = np.random.default_rng(7)
    n = 40_000
    a, b = rng.uniform(-np.pi, np.pi, size=(2, n))
    kept = rng.uniform(size=n) < np.exp(2 * np.cos(a - b) + np.cos(2 * a) - 3)
    x = 1 + rng.normal(size=n) / 2
    rows = np.stack([x, a, b], axis=1)[kept]
    return rows[: len(rows) // 16 * 16].reshape(-1, 16, 3)


def test_a_flow_starts_as_the_identity_on_it(tmp_path: Path) -> None:
    (tmp_path / "energy.py").write_text(ENERGY)
    np.savez(tmp_path / "x.npz", x=samples())
    experiment = experiment_of(
        tmp_path, files="      - {file: x.npz, lam: 1}", body=BODY.replace("{more}", "")
    )
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    with pytest.raises(UserError, match="run the stage that makes it first"):
        distill.run(layout, experiment, "f", 1)
    base_stage.run(layout, experiment, "last")
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    estimate.run_flow(layout, experiment, "f")
    record = read_record(layout.base("last") / "done.json")
    assert record["pairs"] == [["x2", "x3"]]
    assert record["ess"] > 0.95
    rows = {row.quantity: row for row in read_table(layout.flow("f").estimates, EstimateRow)}
    assert rows["ess"].value == pytest.approx(record["ess"], abs=0.01)
    assert rows["base_ess"].value == pytest.approx(record["ess"], abs=0.02)
    flow = load_flow(layout.flow("f").level(1) / "flow.safetensors").double()
    x = torch.from_numpy(samples()[0])
    torch.testing.assert_close(flow(x)[0], x, atol=1e-6, rtol=0)
    grid = torch.linspace(-math.pi, math.pi, 401, dtype=torch.float64)[:-1]
    a, b = torch.meshgrid(grid, grid, indexing="ij")
    cell = float(grid[1] - grid[0]) ** 2
    circles = math.log(float((2 * (a - b).cos() + (2 * a).cos()).exp().sum()) * cell)
    log_z = circles + 0.5 * math.log(2 * math.pi / 4)
    assert rows["log_z"].stderr is not None
    assert abs(rows["log_z"].value - log_z) < 4 * rows["log_z"].stderr
    table = flow_table(Results(experiment, {"f": [*rows.values()]}), {})
    cell = table.rows[0][table.headings.index("base alone")]
    assert cell.text.endswith("%")
    assert cell.note.startswith("Pareto k")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (", reference: q", r"base\.reference: unknown reference 'q'"),
        (", tails: 3", r"base\.tails"),
        (", components: 0", r"base\.components"),
        (", couplings: [[x1, y]]", "couplings: pairs of coordinates"),
        (", couplings: [[x1, x2], [x2, x3]]", "each in one pair at most"),
    ],
)
def test_a_bad_section_is_one_line(tmp_path: Path, more: str, message: str) -> None:
    (tmp_path / "energy.py").write_text(ENERGY)
    np.savez(tmp_path / "x.npz", x=samples())
    body = BODY.replace("{more}", more)
    with pytest.raises(UserError, match=message):
        experiment_of(tmp_path, files="      - {file: x.npz, lam: 1}", body=body)


def test_couplings_of_what_is_no_circle_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "energy.py").write_text(ENERGY)
    np.savez(tmp_path / "x.npz", x=samples())
    for pair, allowed in (("[x2, x3]", True), ("[x1, x2]", False), ("[x2, x9]", False)):
        experiment = experiment_of(
            tmp_path,
            files="      - {file: x.npz, lam: 1}",
            body=BODY.replace("{more}", f", couplings: [{pair}]"),
        )
        if allowed:
            check_experiment(experiment)
        else:
            with pytest.raises(UserError, match=r"base\.couplings: x[19] is no coordinate on a"):
                check_experiment(experiment)


def test_the_hash_of_a_flow_knows_its_base_and_that_of_a_reference_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "energy.py").write_text(ENERGY)
    np.savez(tmp_path / "x.npz", x=samples())
    files = "      - {file: x.npz, lam: 1}"
    one, other = (
        experiment_of(tmp_path, files=files, body=BODY.replace("{more}", more))
        for more in ("", ", components: 2")
    )
    assert one.reference_hash("r") == other.reference_hash("r")
    assert one.flow_hash("f") != other.flow_hash("f")
