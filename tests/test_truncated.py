"""The base between walls: uniform, or a Gaussian cut off there; against scipy and by quadrature."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats

from jeffreysflow.domain import Domain, Interval
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.potentials import Base
from jeffreysflow.potentials.truncated import TruncatedGaussian
from jeffreysflow.streams import Stream

MIXED = Domain((None, (-1.0, 3.0), None, None), (None, None, (0.0, 1.0), (-2.0, 5.0)))
MEAN, SD = [1.0, 0.0, 0.2, -4.0], [0.5, 1.0, 0.3, 2.0]
CUT = {"in the middle": (0.2, 0.3, (0.0, 1.0)), "beside": (-4.0, 2.0, (-2.0, 5.0))}
CUT |= {"on the left": (9.0, 1.5, (-1.0, 2.0)), "far": (30.0, 1.0, (-1.0, 1.0))}
CUT |= {"wide": (0.1, 50.0, (0.0, 1.0)), "hardly cut": (0.0, 1.0, (-9.0, 9.5))}


def law(case: str) -> tuple[Base, stats.rv_continuous]:
    mean, sd, walls = CUT[case]
    a, b = ((end - mean) / sd for end in walls)
    base = Base(Domain((None,), (walls,)), mean, sd, walls="truncated")
    return base, stats.truncnorm(a, b, mean, sd)


@pytest.mark.parametrize("case", CUT)
def test_energy_mean_and_sd_are_scipys(case: str) -> None:
    base, exact = law(case)
    lower, upper = CUT[case][2]
    x = torch.linspace(lower, upper, 101, dtype=torch.float64)[:, None]
    expected = torch.from_numpy(-exact.logpdf(x[:, 0].numpy()))
    torch.testing.assert_close(base.energy(x), expected, rtol=1e-9, atol=1e-9)
    assert float(base.mean) == pytest.approx(exact.mean(), rel=1e-7)
    # scipy's own variance loses digits where the interval is narrow
    density = (-base.energy(x)).exp()
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(200))
    at = (0.5 * (lower + upper) + 0.5 * (upper - lower) * nodes)[:, None]
    mass = weights * (-base.energy(at)).exp() * 0.5 * (upper - lower)
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-12)
    mean = float((mass * at[:, 0]).sum())
    assert float(base.mean) == pytest.approx(mean, rel=1e-12, abs=1e-12)
    variance = float((mass * (at[:, 0] - mean).square()).sum())
    assert float(base.sd) == pytest.approx(math.sqrt(variance), rel=1e-10)
    assert bool((density > 0).all())


@pytest.mark.parametrize("case", CUT)
def test_quantile_is_scipys_and_samples_have_the_law(case: str) -> None:
    base, exact = law(case)
    u = torch.tensor([1e-9, 1e-4, 0.2, 0.5, 0.9, 1 - 1e-6]).double()
    expected = exact.ppf(u.numpy())
    width = float(exact.std())
    assert base.quantile(u[:, None])[:, 0].numpy() == pytest.approx(expected, abs=1e-9 * width)
    for dtype in (torch.float64, torch.float32):
        x = base.sample(50_000, Stream(3, "law", case), dtype)[:, 0]
        assert x.dtype == dtype
        assert stats.kstest(x.double().numpy(), exact.cdf).pvalue > 1e-5
        wrong = stats.uniform(CUT[case][2][0], CUT[case][2][1] - CUT[case][2][0])
        if case != "wide":
            assert stats.kstest(x.double().numpy(), wrong.cdf).pvalue < 1e-5
    points = torch.cat(list(sobol_base_points(base, 1 << 12, 1 << 10, 5, "quantile")))
    assert stats.kstest(points[:, 0].numpy(), exact.cdf).pvalue > 0.5


@pytest.mark.parametrize("tails", [None, 3.0])
@pytest.mark.parametrize("walls", ["uniform", "truncated"])
def test_beside_lines_and_circles(walls: str, tails: float | None) -> None:
    base = Base(MIXED, MEAN, SD, tails, walls)  # type: ignore[arg-type]
    line = stats.norm(1.0, 0.5) if tails is None else stats.t(tails, 1.0, 0.5)
    laws = [line, stats.uniform(-1, 4), stats.uniform(0, 1), stats.uniform(-2, 7)]
    if walls == "truncated":
        laws[2:] = (law(case)[1] for case in ("in the middle", "beside"))
    x = base.sample(20_000, Stream(5, "mixed"))
    expected = -sum(each.logpdf(x[:, i].numpy()) for i, each in enumerate(laws))
    torch.testing.assert_close(base.energy(x), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
    for i, each in enumerate(laws):
        assert stats.kstest(x[:, i].numpy(), each.cdf).pvalue > 1e-5
        if i:
            assert float(base.mean[i]) == pytest.approx(each.mean(), rel=1e-7)
            assert float(base.sd[i]) == pytest.approx(each.std(), rel=1e-6)
    found = base.quantile(torch.full((1, 4), 0.3, dtype=torch.float64))[0]
    assert found.tolist() == pytest.approx([float(each.ppf(0.3)) for each in laws])
    energy, by_hand = base.energy_and_gradient(x[:200])
    y = x[:200].clone().requires_grad_()
    energies = base.energy(y)
    torch.testing.assert_close(by_hand, torch.autograd.grad(energies.sum(), y)[0])
    assert torch.equal(energy, energies.detach())
    far = torch.tensor([-9.0, 0.0, 0.3, 0.0]), torch.tensor([1.5, 0.1, 0.4, 1.0])
    beyond = float(line.sf(1.5) + line.cdf(-9.0))
    assert base.outside(*far) == pytest.approx(beyond, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_sample_is_outside(dtype: torch.dtype) -> None:
    """Also where float32 has no number for a wall, and where all mass lies at it."""
    walls = ((0.1, 0.7), (0.1, 0.7), (-0.3, 0.1))
    domain = Domain((None,) * 3, walls)
    ends = torch.tensor(walls, dtype=torch.float64)
    for law in ("uniform", "truncated"):
        base = Base(domain, [0.0, 5.0, 30.0], [0.01, 0.2, 1.0], walls=law)  # type: ignore[arg-type]
        u = torch.tensor([0.0, 2.0**-53, 0.5, 1 - 2.0**-53, 1.0], dtype=dtype)[:, None]
        for x in (base.sample(20_000, Stream(6), dtype), base.quantile(u.expand(-1, 3))):
            assert x.dtype == dtype
            assert bool(((x.double() >= ends[:, 0]) & (x.double() <= ends[:, 1])).all())


def test_the_law_of_existing_bases_has_the_same_bits() -> None:
    domain = Domain((None, (-1.0, 3.0)))
    x = Base(domain, 1.0, 0.5).sample(4, Stream(7))
    stream = Stream(7)
    standard, uniform = stream.normal(4, 2), stream.uniform(4, 2)
    assert torch.equal(x[:, 0], 1.0 + 0.5 * standard[:, 0])
    assert torch.equal(x[:, 1], domain.wrap(-1.0 + 4.0 * uniform)[:, 1])


@pytest.mark.parametrize(
    ("mean", "sd", "walls"),
    [(50.0, 1.0, (0.0, 1.0)), (-5.0, 0.1, (0.0, 1.0)), (0.5, 1e7, (0.0, 1.0))],
)
def test_what_is_not_between_its_walls_is_refused(mean: float, sd: float, walls: Interval) -> None:
    columns = (torch.tensor([value], dtype=torch.float64) for value in (mean, sd))
    with pytest.raises(UserError, match=r"base.walls: of a Gaussian .* lies between the walls"):
        TruncatedGaussian(*columns, [walls])


def test_a_circle_is_uniform_wherever_it_is() -> None:
    base = Base(Domain(((50.0, 60.0), None), (None, (0.0, 1.0))), walls="truncated")
    assert base.mean[0] == 55.0
    assert bool((base.sample(100, Stream(8))[:, 0] >= 50).all())


def test_a_line_among_the_walls_is_not_cut() -> None:
    ends: Sequence[Interval] = [(-math.inf, math.inf), (0.0, 1.0)]
    cut = TruncatedGaussian(torch.zeros(2).double(), torch.ones(2).double(), ends)
    assert float(cut.mean[0]) == pytest.approx(0.0, abs=1e-14)
    assert float(cut.sd[0]) == pytest.approx(1.0, rel=1e-12)
    assert float(cut.log_normaliser[0]) == pytest.approx(0.5 * math.log(2 * math.pi), abs=1e-12)
