"""Fitted bases whose means follow angles, of far clusters, and those that are worth nothing."""

import math
from pathlib import Path

import pytest
import torch

from jeffreysflow.analysis.base_weights import weighed, worth
from jeffreysflow.domain import Domain
from jeffreysflow.estimation.fit_base import fit_base
from jeffreysflow.estimation.fit_lines import fit_lines
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.circle_mixture import CircleMixture
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.potentials.trigonometric import TrigonometricMeans
from jeffreysflow.stores.fitted_bases import load_base, save_base
from jeffreysflow.streams import Stream

# a line, a circle in degrees, a coordinate between walls, and a circle in radian
DOMAIN = Domain((None, (0.0, 360.0), None, (-math.pi, math.pi)), (None, None, (1.0, 3.0), None))


def t(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def a_base(*, means: bool = True) -> FittedBase:
    lines = LineMixture(t([1.0]), t([[0.5, -0.2]]), t([[[0.4, 0.0], [0.1, 0.3]]]))
    pair = CircleMixture(t([0.7, 0.3]), t([[1.0, -2.0], [-1.0, 1.5]]), t([[8.0, 3.0], [2.0, 5.0]]))
    waves = TrigonometricMeans(
        torch.tensor([[1, 0], [1, -1], [0, 2]]),
        t([[1.0, 0.3], [-0.5, 0.2], [0.0, 0.1]]),
        t([[0.2, 0.0], [0.8, -0.3], [0.4, 0.0]]),
    )
    return FittedBase(DOMAIN, lines, [[1, 3]], [pair], waves if means else None)


class _Target(Potential):
    """The density of ``a_base``."""

    domain = DOMAIN

    def __init__(self) -> None:
        super().__init__()
        self.law = a_base()

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self.law.energy(x)


def test_it_is_normalised_and_differentiable() -> None:
    domain = Domain((None, (0.0, 5.0)))
    waves = TrigonometricMeans(torch.tensor([[1], [3]]), t([[2.0], [0.5]]), t([[-1.0], [0.0]]))
    lines = LineMixture(t([1.0]), t([[0.3]]), t([[[0.5]]]))
    circle = CircleMixture(t([1.0]), t([[0.4]]), t([[2.0]]))
    base = FittedBase(domain, lines, [[1]], [circle], waves)
    n = 500
    middle = (torch.arange(n).double() + 0.5) / n
    x = torch.cartesian_prod(16 * middle - 8, 5 * middle)
    assert float((-base.energy(x)).exp().mean()) * 16 * 5 == pytest.approx(1, abs=1e-9)
    x = a_base().sample(5, Stream(1, "x")).requires_grad_()
    assert torch.autograd.gradcheck(a_base().energy, x)


def test_samples_have_the_density_and_the_moments() -> None:
    base, n = a_base(), 1 << 14
    x = base.sample(n, Stream(2, "samples"))
    other = FittedBase(DOMAIN, _wide(), [[1], [3]], [_flat(), _flat()])
    # E_p[q / p] = 1 for a density q
    ratio = (base.energy(x) - other.energy(x)).clamp(max=50).exp()
    back = other.sample(1 << 16, Stream(3, "samples"))
    there = (other.energy(back) - base.energy(back)).exp()
    assert abs(float(there.mean()) - 1) < 4 * float(there.std()) / math.sqrt(len(there))
    assert float(ratio.median()) < 1
    # the control: a density whose means do not follow the angles
    wrong = (a_base(means=False).energy(x) - base.energy(x)).neg()
    assert float(wrong.mean()) < -1
    error = x.std(dim=0) / math.sqrt(n)
    assert abs(float(x[:, 0].mean() - base.mean[0])) < 4 * float(error[0])
    assert float(x[:, 0].std()) == pytest.approx(float(base.sd[0]), rel=0.03)
    sobol = torch.cat(list(sobol_base_points(base, n, n, 3, "points")))
    assert abs(float(sobol[:, 0].mean() - base.mean[0])) < float(error[0])
    far = base.mean + 3 * base.sd
    beyond = (x[:, 0] > far[0]).double()
    outside = base.outside(torch.full((4,), -math.inf), far)
    assert abs(float(beyond.mean()) - outside) < 4 * float(beyond.std()) / math.sqrt(n) + 1e-5


def _flat() -> CircleMixture:
    return CircleMixture(t([1.0]), t([[0.0]]), t([[0.0]]))


def _wide() -> LineMixture:
    return LineMixture(t([1.0]), t([[0.5, 0.0]]), t([[[1.2, 0.0], [0.0, 0.7]]]))


def test_it_is_found_again_and_what_needs_means_is_poor_without(tmp_path: Path) -> None:
    x = a_base().sample(12_000, Stream(4, "x"))
    base = fit_base(x[:9000], x[9000:], DOMAIN, None, 4, 8, lambda purpose: Stream(4, purpose))
    assert base.means is not None
    stream = Stream(4, "weighed")
    found = weighed(AnnealingPath(base, _Target()), 1.0, 1 << 13, stream)
    assert found["ess"] > 0.95
    assert abs(found["log_z"]) < 4 * found["log_z_error"]
    without = FittedBase(
        DOMAIN, fit_lines(x[:, [0, 2]], x[:, [0, 2]], 1, stream), [[1, 3]], base.circles
    )
    assert weighed(AnnealingPath(without, _Target()), 1.0, 1 << 13, stream)["ess"] < 0.5
    save_base(tmp_path / "base.safetensors", base, "hash")
    again = load_base(tmp_path / "base.safetensors", DOMAIN, "hash")
    assert torch.equal(again.energy(x), base.energy(x))
    assert torch.equal(again.sd, base.sd)


def test_there_are_no_means_where_nothing_follows_the_angles() -> None:
    x = a_base(means=False).sample(4000, Stream(5, "x"))
    base = fit_base(x[:3000], x[3000:], DOMAIN, None, 4, 8, lambda purpose: Stream(5, purpose))
    assert base.means is None


class _Clusters(Potential):
    """Two unit Gaussians in d dimensions, 1 to 3, far apart."""

    def __init__(self, d: int, distance: float) -> None:
        super().__init__()
        self.domain = Domain.euclidean(d)
        centres = torch.zeros(2, d).double()
        centres[1] = distance / math.sqrt(d)
        self.law = LineMixture(t([0.25, 0.75]), centres, torch.eye(d).double().repeat(2, 1, 1))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return -self.law.log_density(x)


@pytest.mark.parametrize(("d", "distance", "n"), [(6, 1000.0, 8000), (20, 60.0, 800)])
def test_far_clusters_are_components(d: int, distance: float, n: int) -> None:
    """Also of fewer samples than two covariance matrices have numbers."""
    target, stream = _Clusters(d, distance), Stream(6, "clusters")
    x = target.law.quantile(stream.uniform(n, d).clamp(1e-12))
    fit = x[: 3 * n // 4], x[3 * n // 4 :], target.domain, None
    base = fit_base(*fit, 4, 4, lambda purpose: Stream(6, purpose))
    path = AnnealingPath(base, target)
    assert weighed(path, 1.0, 1 << 12, stream)["ess"] > (0.98 if n > 5000 else 0.5)
    # the control: one Gaussian for both
    one = AnnealingPath(fit_base(*fit, 1, 4, lambda purpose: Stream(6, purpose)), target)
    assert weighed(one, 1.0, 1 << 12, stream)["ess"] < 0.1


def test_a_base_that_is_worth_nothing_says_so() -> None:
    target, n = _Clusters(2, 10.0), 1 << 12
    near, far, none = (
        worth(weighed(AnnealingPath(base, energy), 1.0, n, Stream(7, "x")), n)
        for base, energy in (
            (Base(target.domain, 3.0, 5.0), target),
            (Base(target.domain, 80.0, 1.0), target),
            (Base(target.domain), _Nowhere()),
        )
    )
    assert near.startswith("on its own ESS ")
    assert "it is far from the target" in far
    assert "none of 4096 samples has any weight" in none
    assert "nan" not in near + far + none


class _Nowhere(Potential):
    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x[:, 0], math.inf)
