"""Weights, effective sample sizes and resampling: by hand, and on Gaussian levels."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    jeffreys_bracket,
    log_evidence,
    resampled,
    systematic_indices,
)
from jeffreysflow.distillation.pushing import base_ensemble, pushed
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.domain import Domain
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernels import get_kernel


def logs(*weights: float) -> torch.Tensor:
    return torch.tensor(weights, dtype=torch.float64).log()


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size(logs(1, 1, 1, 1)) == pytest.approx(1)
    assert effective_sample_size(logs(1, 0, 0, 0)) == pytest.approx(1 / 4)
    assert effective_sample_size(logs(3, 1)) == pytest.approx(16 / (2 * 10))
    assert effective_sample_size(logs(3, 1) + 5000) == pytest.approx(16 / (2 * 10))


def test_conditional_ess_by_hand() -> None:
    # alpha = (.5, .25, .25), w = (1, 2, 4): sum alpha w = 2, sum alpha w^2 = 5.5
    assert conditional_ess(logs(2, 1, 1) - 900, logs(1, 2, 4) + 70) == pytest.approx(4 / 5.5)
    # uniform alpha would say (7/3)^2 / 7: the known mistake
    assert conditional_ess(logs(1, 1, 1), logs(1, 2, 4)) == pytest.approx(7 / 9)
    assert conditional_ess(logs(2, 1, 1), logs(5, 5, 5)) == pytest.approx(1)


def test_log_evidence_and_bracket_by_hand() -> None:
    assert log_evidence(logs(1, 2, 6)) == pytest.approx(math.log(3))
    lower, upper = jeffreys_bracket(logs(2, 1, 1), logs(1, 2, 4))
    assert lower == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(4))
    assert upper == pytest.approx((0.25 * 2 * math.log(2) + 0.25 * 4 * math.log(4)) / 2)
    assert lower < math.log(2) < upper
    lower, upper = jeffreys_bracket(logs(1, 1), logs(1, 0))
    assert (lower, upper) == (-math.inf, 0.0)


def test_systematic_resampling_is_unbiased_and_even() -> None:
    log_weights = logs(0.5, 0.1, 0.05, 0.3, 0.05, 0.0)
    n, repeats = 7, 4000
    counts = torch.stack(
        [
            systematic_indices(log_weights, n, Stream(1, "resample", i)).bincount(minlength=6)
            for i in range(repeats)
        ]
    ).double()
    expected = n * log_weights.exp()
    error = counts.std(dim=0) / math.sqrt(repeats)
    assert bool(((counts.mean(dim=0) - expected).abs() <= 4 * error + 1e-12).all())
    assert bool(((counts - expected).abs() < 1).all())
    biased = counts.sort(dim=1).values.mean(dim=0)
    assert bool(((biased - expected).abs() > 4 * error + 1e-12).any())


class Well(Potential):
    """N(m, s^2 I) with log Z = 3."""

    def __init__(self, domain: Domain, mean: float, sd: float) -> None:
        super().__init__()
        self.domain, self.mean, self.sd = domain, mean, sd

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        d = self.domain.dimension
        constant = d * (math.log(self.sd) + 0.5 * math.log(2 * math.pi)) - 3.0
        return 0.5 * ((x - self.mean) / self.sd).square().sum(dim=1) + constant


DOMAIN = Domain.euclidean(2)
PATH = AnnealingPath(Base(DOMAIN, 0.0, 1.0), Well(DOMAIN, 0.8, 0.6))
SETTINGS = {
    "lower": [-8.0] * 2,
    "upper": [8.0] * 2,
    "scale": [1.0] * 2,
    "periodic": [False] * 2,
    "layers": 2,
    "hidden": [8],
    "bins": 8,
}


def bent(seed: int) -> SplineFlow:
    """A flow that is far from perfect."""
    flow, stream = (
        SplineFlow(**SETTINGS, stream=Stream(seed)).to(torch.float64),
        Stream(seed, "bend"),
    )
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.05 * stream.normal(*parameter.shape)
    return flow


def test_two_levels_give_the_exact_log_z_through_resampling() -> None:
    # along the path Z_lambda is Gaussian: precision 1 - lam + lam / s^2
    half, n = 0.4, 40_000
    precision = 1 - half + half / 0.36
    mean = half * 0.8 / 0.36 / precision
    exponent = 0.5 * (precision * mean**2 - half * 0.64 / 0.36)
    log_z_half = 2 * (exponent - 0.5 * math.log(precision) - half * math.log(0.6)) + half * 3.0
    estimates = []
    for repeat in range(12):
        start = base_ensemble(PATH, n, Stream(repeat, "start"))
        first, log_w = pushed(bent(1), PATH, 0.0, half, start, 7_000)
        assert torch.equal(first.log_weights, log_w)
        again = resampled(first, n, Stream(repeat, "resample"))
        assert log_evidence(again.log_weights) == pytest.approx(log_evidence(first.log_weights))
        second, _ = pushed(bent(2), PATH, half, 1.0, again, n)
        estimates.append([log_evidence(first.log_weights), log_evidence(second.log_weights)])
    found = torch.tensor(estimates)
    error = found.std(dim=0) / math.sqrt(len(found))
    z = (found.mean(dim=0) - torch.tensor([log_z_half, 3.0])) / error
    assert bool((z.abs() < 4).all()), z
    assert bool((error < 0.02).all())


def test_pushing_in_batches_changes_nothing_but_rounding() -> None:
    start = base_ensemble(PATH, 1000, Stream(0))
    whole, log_w = pushed(bent(1), PATH, 0.0, 1.0, start, 1000)
    parts, log_w_parts = pushed(bent(1), PATH, 0.0, 1.0, start, 64)
    torch.testing.assert_close(log_w, log_w_parts)
    torch.testing.assert_close(whole.x, parts.x)
    torch.testing.assert_close(whole.U_0 + whole.V, PATH.target.energy(whole.x))


def test_an_infinite_energy_gets_weight_zero() -> None:
    class Wall(Well):
        def energy(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x[:, 0] > 0, super().energy(x), torch.inf)

    path = AnnealingPath(Base(DOMAIN), Wall(DOMAIN, 0.0, 1.0))
    flow = SplineFlow(**SETTINGS, stream=Stream(0)).to(torch.float64)
    after, log_w = pushed(flow, path, 0.0, 1.0, base_ensemble(path, 10_000, Stream(0)), 5000)
    zero = after.x[:, 0] <= 0
    assert bool((log_w[zero] == -torch.inf).all())
    assert effective_sample_size(after.log_weights) == pytest.approx(0.5, abs=0.03)
    assert log_evidence(after.log_weights) == pytest.approx(3 - math.log(2), abs=0.05)


@pytest.mark.parametrize(("lam", "invariant"), [(1.0, True), (0.5, False)])
def test_rejuvenation_leaves_its_level_invariant(lam: float, invariant: bool) -> None:
    n = 20_000
    x = 0.8 + 0.6 * Stream(0, "exact").normal(n, 2)
    exact = Ensemble(x, torch.zeros(n, dtype=torch.float64), *PATH.energies(x))
    moved, acceptance = rejuvenated(exact, PATH, lam, get_kernel("mala"), 10, 4_000, Stream(1))
    assert 0.3 < acceptance < 0.95
    assert float((moved.x - x).abs().mean()) > 0.2
    torch.testing.assert_close(moved.U_0 + moved.V, PATH.target.energy(moved.x))
    z = (moved.x.mean(dim=0) - 0.8) / (0.6 / math.sqrt(n))
    spread = (moved.x.var(dim=0) / 0.36 - 1) / math.sqrt(2 / n)
    assert bool((torch.cat([z, spread]).abs() < 5).all()) == invariant
