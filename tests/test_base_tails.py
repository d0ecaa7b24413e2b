"""A base with the tails of Student's t: scipy's energies, samples of the right law, a wide box."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.flows.box import spline_box
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

MIXED = Domain((None, (-1.0, 3.0), None))
MEAN, SD = [1.0, 0.0, -2.0], [0.5, 1.0, 2.0]
TAILS = [1.0, 3.0, 4.5, 1e6]


def base(tails: float | None) -> Base:
    return Base(MIXED, MEAN, SD, tails)


@pytest.mark.parametrize("tails", TAILS)
def test_energy_is_scipys(tails: float) -> None:
    x = base(2.0).sample(200, Stream(1))
    x[:3, 0] = torch.tensor([1e3, -1e6, 1e12])
    expected = math.log(4.0) - sum(
        stats.t.logpdf(x[:, i].numpy(), tails, MEAN[i], SD[i]) for i in (0, 2)
    )
    found = base(tails).energy(x)
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-9, atol=1e-8)
    single = base(tails).energy(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tails", TAILS)
def test_gradient_is_autograds(tails: float) -> None:
    x = base(tails).sample(100, Stream(2))
    energy, by_hand = base(tails).energy_and_gradient(x)
    y = x.clone().requires_grad_()
    energies = base(tails).energy(y)
    (automatic,) = torch.autograd.grad(energies.sum(), y)
    torch.testing.assert_close(by_hand, automatic)
    assert torch.equal(energy, energies.detach())


@pytest.mark.parametrize("tails", TAILS)
def test_it_is_normalised(tails: float) -> None:
    """The integral over one Euclidean coordinate, on a grid that is even in asinh x."""
    line = Base(Domain.euclidean(1), 1.0, 0.5, tails)
    v = torch.linspace(-40, 40, 200_001, dtype=torch.float64)
    density = torch.exp(-line.energy((1.0 + 0.5 * v.sinh())[:, None])) * 0.5 * v.cosh()
    assert float(torch.trapezoid(density, v)) == pytest.approx(1.0, abs=1e-9)


def kolmogorov_p(x: torch.Tensor, tails: float, i: int) -> float:
    law = stats.t(tails, MEAN[i], SD[i])
    return float(stats.kstest(x[:, i].double().numpy(), law.cdf).pvalue)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tails", TAILS)
def test_samples_have_the_law(tails: float, dtype: torch.dtype) -> None:
    x = base(tails).sample(50_000, Stream(3, "law"), dtype)
    assert x.dtype == dtype
    for i in (0, 2):
        assert kolmogorov_p(x, tails, i) > 1e-5
        # the negative control: half the degrees of freedom
        assert kolmogorov_p(x, 0.5 * tails if tails < 10 else 10.0, i) < 1e-5
    circle = stats.uniform(-1.0, 4.0)
    assert stats.kstest(x[:, 1].double().numpy(), circle.cdf).pvalue > 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_stream_gives_the_same_bits(dtype: torch.dtype) -> None:
    first, second = (base(3.0).sample(100, Stream(4, "bits"), dtype) for _ in range(2))
    assert torch.equal(first, second)
    stream = Stream(4, "bits")
    stream.student(3.0, 7)
    other = Stream(0)
    other.state = stream.state
    assert torch.equal(stream.student(3.0, 5), other.student(3.0, 5))


@pytest.mark.parametrize("tails", TAILS)
def test_quantile_is_scipys_and_has_the_law_of_the_samples(tails: float) -> None:
    u = torch.tensor([[0.5**53] * 3, [1e-6] * 3, [0.3] * 3, [0.5] * 3, [1 - 1e-9] * 3]).double()
    found = base(tails).quantile(u)
    for i in (0, 2):
        expected = torch.from_numpy(stats.t.ppf(u[:, i].numpy(), tails, MEAN[i], SD[i]))
        torch.testing.assert_close(found[:, i], expected, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(found[:, 1], -1 + 4 * u[:, 1])
    x = torch.cat(list(sobol_base_points(base(tails), 1 << 12, 1 << 10, 5, "quantile")))
    assert bool(torch.isfinite(x).all())
    assert kolmogorov_p(x, tails, 0) > 0.5  # more even than independent points


def test_many_degrees_of_freedom_are_the_gaussian() -> None:
    x = base(None).sample(100, Stream(6))
    torch.testing.assert_close(base(1e9).energy(x), base(None).energy(x), rtol=0, atol=1e-6)
    assert float((base(3.0).energy(x) - base(None).energy(x)).abs().max()) > 0.1


@pytest.mark.parametrize("tails", [None, *TAILS])
def test_the_probability_outside_a_box(tails: float | None) -> None:
    lower, upper = torch.tensor([-1.0, 0.0, -4.0]), torch.tensor([1.5, 0.1, 30.0])
    law = stats.norm if tails is None else stats.t(tails)
    inside = [
        float(law.cdf((float(upper[i]) - MEAN[i]) / SD[i]))
        - float(law.cdf((float(lower[i]) - MEAN[i]) / SD[i]))
        for i in (0, 2)
    ]
    found = base(tails).outside(lower, upper)
    assert found == pytest.approx(1 - inside[0] * inside[1], rel=1e-9)
    x = base(tails).sample(40_000, Stream(7))
    euclidean = x[:, [0, 2]]
    out = (euclidean < lower[[0, 2]]) | (euclidean > upper[[0, 2]])
    error = math.sqrt(found * (1 - found) / len(x))
    assert abs(float(out.any(dim=1).double().mean()) - found) < 4.5 * error
    far = torch.tensor([1e9] * 3)
    assert 0 <= base(3.0).outside(-far, far) < 1e-24


@pytest.mark.parametrize("tails", [1.0, 3.0, 1e6])
def test_the_box_holds_all_but_one_in_a_million(tails: float) -> None:
    box = spline_box(base(tails), base(tails).sample(1000, Stream(8)))
    outside = base(tails).outside(torch.tensor(box.lower), torch.tensor(box.upper))
    assert outside <= 2e-6 * (1 + 1e-9)
    assert outside > 1e-6 or tails > 1000
    assert box.scale[0] == 0.5


def test_tails_must_be_positive() -> None:
    with pytest.raises(ValueError, match="tails must be positive, found 0"):
        base(0.0)
