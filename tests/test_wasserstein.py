"""The distance of energy histograms against exact values."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.estimation.wasserstein import wasserstein_energy
from jeffreysflow.streams import Stream

N = 20_000


def normal_sample(purpose: str) -> torch.Tensor:
    return Stream(1, "wasserstein", purpose).normal(N)


@pytest.mark.parametrize(("shift", "scale"), [(0.7, 1.0), (-2.0, 1.0), (0.0, 1.5), (0.4, 0.5)])
def test_two_gaussians(shift: float, scale: float) -> None:
    """``W2^2 = (m_a - m_b)^2 + (s_a - s_b)^2``, with a standard error of about
    ``sqrt((1 + s^2) / n)``."""
    found = wasserstein_energy(normal_sample("a"), shift + scale * normal_sample("b"))
    exact = math.hypot(shift, scale - 1)
    assert abs(found - exact) < 4.5 * math.sqrt((1 + scale**2) / N)


def test_one_law_is_at_its_floor_and_another_is_not() -> None:
    a, b = normal_sample("a"), normal_sample("b")
    assert 0 < wasserstein_energy(a, b) < 0.05
    assert wasserstein_energy(a, a.flip(0)) == 0.0
    # the means alone, or the variances alone, would not tell
    two_sided = b.sign() * (1 + 1e-3 * b)
    assert wasserstein_energy(a, two_sided) > 0.3


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"found \[2\] and \[3\]"):
        wasserstein_energy(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        wasserstein_energy(torch.zeros(2), torch.tensor([0.0, math.inf]))
