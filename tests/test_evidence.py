"""log Z along the ladder, against pymbar and against Gaussians whose log Z is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pymbar.other_estimators import bar

from jeffreysflow.estimation.pareto import pareto_k
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.evidence import bennett, chained, stepping_backward, stepping_forward

EXACT = -math.log(10.0)  # -(d/2) log 10, d = 2


def gaussian_ladder(levels: int, draws: int, walkers: int, stream: Stream) -> list[torch.Tensor]:
    """``V`` [draw, walker] of exact samples of zero-mean Gaussians, precision linear from 1 to 10.

    ``U_lambda = (1 + 9 lambda) |x|^2 / 2``, so ``V = 9 |x|^2 / 2``, at equally spaced lambda.
    """
    precision = torch.linspace(1, 10, levels + 1, dtype=torch.float64)
    return [4.5 * stream.normal(draws, walkers, 2).square().sum(dim=-1) / p for p in precision]


def test_bennett_against_pymbar() -> None:
    V = gaussian_ladder(3, 50, 20, Stream(1, "pymbar"))
    for lower, upper in pairwise(V):
        result = bar((lower / 3).flatten().numpy(), (-upper / 3).flatten().numpy())
        ours = bennett(lower, upper, 1 / 3)
        assert ours.value == pytest.approx(-result["Delta_f"], abs=1e-9)
        # pymbar's asymptotic error, for independent samples
        assert ours.error == pytest.approx(result["dDelta_f"], rel=4 / math.sqrt(2 * 20))
        assert abs(float(ours.influence.mean())) < 1e-9


def test_gaussian_ladder() -> None:
    """Value and error of the chained estimate over repeated runs."""
    z = []
    for run in range(60):
        V = gaussian_ladder(5, 20, 50, Stream(2, "ladder", run))
        total = chained([bennett(a, b, 0.2) for a, b in pairwise(V)])
        z.append((total.value - EXACT) / total.error)
    scores = np.array(z)
    assert abs(scores.mean()) < 4 / math.sqrt(60)
    assert abs(scores.std() - 1) < 4 / math.sqrt(2 * 60)


def test_errors_see_correlated_ladders() -> None:
    """Walkers that keep the same noise at all levels: ignoring it understates the error."""
    stream = Stream(3, "correlated")
    z, naive = [], []
    for _ in range(60):
        noise = stream.normal(1, 50, 2).square().sum(dim=-1).expand(10, 50)
        V = [4.5 * noise / p for p in torch.linspace(1, 10, 6, dtype=torch.float64)]
        terms = [bennett(a, b, 0.2) for a, b in pairwise(V)]
        total = chained(terms)
        z.append((total.value - EXACT) / total.error)
        iid = [float(term.influence.std()) / math.sqrt(500) for term in terms]
        naive.append((total.value - EXACT) / math.hypot(*iid))
    assert abs(np.std(z) - 1) < 4 / math.sqrt(2 * 60)
    assert np.std(naive) > 3


def test_poor_overlap_stays_finite() -> None:
    """Logistic weights of e^-900: the root is found in log space."""
    stream = Stream(4, "poor")
    lower, upper = 1000 + stream.normal(20, 20), -800 + stream.normal(20, 20)
    ratio = bennett(lower, upper, 1.0)
    assert math.isfinite(ratio.value)
    assert -1010 < ratio.value < 810
    assert math.isfinite(ratio.error)
    shifted = bennett(lower + 5, upper + 5, 1.0)
    assert shifted.value == pytest.approx(ratio.value - 5, abs=1e-8)


def test_infinite_energies_and_equal_levels() -> None:
    V = gaussian_ladder(1, 50, 20, Stream(5, "wall"))
    V[0][0, 0] = math.inf
    assert math.isfinite(bennett(V[0], V[1], 1.0).value)
    assert math.isfinite(bennett(V[0], V[1], 1.0).error)
    constant = torch.full((4, 4), 2.0, dtype=torch.float64)
    assert bennett(constant, constant, 0.5).value == pytest.approx(-1.0)


def test_stepping_stones_bracket_log_z() -> None:
    """``E[F] <= log Z <= E[B]``, both biased by few samples; the errors are in units of theirs."""
    forward, backward, unbiased = [], [], []
    for run in range(400):
        V = gaussian_ladder(4, 1, 8, Stream(6, "stones", run))
        up = chained([stepping_forward(v, 0.25) for v in V[:-1]])
        down = chained([stepping_backward(v, 0.25) for v in V[1:]])
        forward.append(up.value)
        backward.append(down.value)
        unbiased.append(math.exp(up.value))
    for values, sign in ((forward, -1), (backward, 1)):
        error = np.std(values) / math.sqrt(400)
        assert sign * (np.mean(values) - EXACT) > 4 * error
    error = np.std(unbiased) / math.sqrt(400)
    assert abs(np.mean(unbiased) - math.exp(EXACT)) < 4 * error


def test_first_backward_stone_has_infinite_variance() -> None:
    """Reweighting precision 10 back to 1 has tail index 9/10; one small step has a light tail."""
    V = gaussian_ladder(1, 500, 40, Stream(7, "tail"))
    assert pareto_k(V[1].flatten()) > 0.7
    V = gaussian_ladder(20, 500, 40, Stream(7, "tail"))
    assert pareto_k(V[20].flatten() / 20) < 0.7
