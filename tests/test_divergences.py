"""The losses against closed forms, and the theorem that justifies them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from jeffreysflow.distillation.divergences import (
    forward_bracket,
    jeffreys_weights,
    reverse_bracket,
)


class Affine:
    """``x -> a x + b`` in one dimension."""

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = a, b

    def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.a * z + self.b, torch.full((len(z),), math.log(self.a), dtype=z.dtype)

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x - self.b) / self.a, torch.full((len(x),), -math.log(self.a), dtype=x.dtype)


def gaussian(mean: float, sd: float, log_z: float = 0.0) -> Callable[[torch.Tensor], torch.Tensor]:
    """The energy of N(mean, sd^2), with log Z = ``log_z``."""
    constant = math.log(sd) + 0.5 * math.log(2 * math.pi) - log_z
    return lambda x: 0.5 * ((x[:, 0] - mean) / sd) ** 2 + constant


def normal_points(mean: float, sd: float, n: int = 200_000) -> torch.Tensor:
    """Equally probable points of N(mean, sd^2), [n, 1]: averages over them are quadratures."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (mean + sd * torch.special.ndtri(u))[:, None]


def kl(mean_p: float, sd_p: float, mean_q: float, sd_q: float) -> float:
    return math.log(sd_q / sd_p) + (sd_p**2 + (mean_p - mean_q) ** 2) / (2 * sd_q**2) - 0.5


# pi_0 = N(1, 0.5), F x = 1.4 x - 0.3, so F#pi_0 = N(1.1, 0.7); pi_1 = N(0.8, 0.6), log Z = 2
FLOW, U_0, U_1, LOG_Z = Affine(1.4, -0.3), gaussian(1, 0.5), gaussian(0.8, 0.6, 2.0), 2.0
SOURCE, TARGET = normal_points(1, 0.5), normal_points(0.8, 0.6)


def test_brackets_are_kullback_leibler_divergences() -> None:
    R = reverse_bracket(FLOW, SOURCE, U_0(SOURCE), U_1).divergence()
    D = forward_bracket(FLOW, TARGET, U_1(TARGET), U_0).divergence()
    assert float(R) == pytest.approx(kl(1.1, 0.7, 0.8, 0.6) - LOG_Z, abs=1e-4)
    assert float(D) == pytest.approx(kl(0.8, 0.6, 1.1, 0.7) + LOG_Z, abs=1e-4)
    assert -float(R) < LOG_Z < float(D)


def test_a_perfect_map_has_no_gap_and_the_exact_log_z() -> None:
    perfect = Affine(0.6 / 0.5, 0.8 - 0.6 / 0.5)
    for order in (1.0, 1.5):
        R = reverse_bracket(perfect, SOURCE, U_0(SOURCE), U_1).divergence(order)
        D = forward_bracket(perfect, TARGET, U_1(TARGET), U_0).divergence(order)
        assert float(R) == pytest.approx(-LOG_Z, abs=1e-12)
        assert float(D) == pytest.approx(LOG_Z, abs=1e-12)


@pytest.mark.parametrize("order", [1.2, 1.5, 2.0])
def test_renyi_of_gaussians(order: float) -> None:
    # D_a(P || Q) = log(s_q / s_p) + log(s_q^2 / s^2) / (2 (a - 1)) + a (m_p - m_q)^2 / (2 s^2),
    # s^2 = a s_q^2 + (1 - a) s_p^2 (Gil, Alajaji and Linder 2013)
    (m_p, s_p), (m_q, s_q) = (0.8, 0.6), (1.1, 0.7)
    s2 = order * s_q**2 + (1 - order) * s_p**2
    exact = math.log(s_q / s_p) + math.log(s_q**2 / s2) / (2 * (order - 1))
    exact += order * (m_p - m_q) ** 2 / (2 * s2)
    D = forward_bracket(FLOW, TARGET, U_1(TARGET), U_0).divergence(order)
    assert float(D) == pytest.approx(exact + LOG_Z, abs=1e-4)


def test_renyi_tends_to_kullback_leibler_from_above() -> None:
    bracket = forward_bracket(FLOW, TARGET, U_1(TARGET), U_0)
    limit = float(bracket.divergence())
    values = [float(bracket.divergence(order)) for order in (1.0001, 1.01, 1.5)]
    assert values[0] == pytest.approx(limit, abs=1e-4)
    assert limit < values[0] < values[1] < values[2]


def test_weights_of_the_loss() -> None:
    assert jeffreys_weights(0.0, 3.0, 2.0) == (0.0, 1.0)
    assert jeffreys_weights(1.0, 3.0, 2.0) == (1.0, 0.0)
    l_0, l_1 = jeffreys_weights(0.25, 6.0, 1.0)
    assert (l_0, l_1) == pytest.approx((1.5 / 2.25, 0.75 / 2.25))


# The theorem: the minimiser P of l_0 KL(P || pi) + l_1 KL(mu || P) is no further from pi than the
# biased reference mu it was taught by, KL(P || pi) <= KL(mu || pi).


def on_grid(energy: torch.Tensor) -> torch.Tensor:
    return torch.softmax(-energy, dim=0)


def grid_kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p * (p / q).log()).sum())


def minimiser(mu: torch.Tensor, pi: torch.Tensor, l_0: float, l_1: float) -> torch.Tensor:
    """Stationary point ``l_0 log(P / pi) - l_1 mu / P = c``, c such that P adds up to 1."""

    def solve(c: float) -> torch.Tensor:
        low, high = torch.full_like(pi, -80.0), torch.full_like(pi, 5.0)
        for _ in range(80):
            log_p = 0.5 * (low + high)
            too_large = l_0 * (log_p - pi.log()) - l_1 * mu * (-log_p).exp() > c
            low, high = torch.where(too_large, low, log_p), torch.where(too_large, log_p, high)
        return log_p.exp()

    low, high = -20.0, 20.0
    for _ in range(80):
        c = 0.5 * (low + high)
        low, high = (low, c) if float(solve(c).sum()) > 1 else (c, high)
    return solve(c)


X = torch.linspace(-2.5, 2.5, 301, dtype=torch.float64)
PI = on_grid(4 * (X**2 - 1) ** 2 + 0.5 * X)
BIASED = {
    "wrong weights of the wells": on_grid(4 * (X**2 - 1) ** 2 - 1.5 * X),
    "too hot": on_grid(0.4 * (4 * (X**2 - 1) ** 2 + 0.5 * X)),
    "one well nearly missed": on_grid(4 * (X**2 - 1) ** 2 - 6 * X),
}


@pytest.mark.parametrize("mu", BIASED.values(), ids=BIASED.keys())
@pytest.mark.parametrize("theta", [0.05, 0.5, 0.9])
def test_the_minimiser_is_closer_than_the_reference(mu: torch.Tensor, theta: float) -> None:
    l_0, l_1 = jeffreys_weights(theta, 1.3, 0.7)
    best = minimiser(mu, PI, l_0, l_1)
    assert float(best.sum()) == pytest.approx(1, abs=1e-9)

    def loss(p: torch.Tensor) -> float:
        return l_0 * grid_kl(p, PI) + l_1 * grid_kl(mu, p)

    for other in (mu, PI, 0.9 * best + 0.1 * mu, 0.9 * best + 0.1 * PI):
        assert loss(best) < loss(other)
    assert grid_kl(best, PI) < grid_kl(mu, PI)


def test_the_theorem_needs_the_reverse_term() -> None:
    mu = BIASED["too hot"]
    without = minimiser(mu, PI, 1e-9, 1.0)
    assert grid_kl(without, PI) == pytest.approx(grid_kl(mu, PI), rel=1e-4)
