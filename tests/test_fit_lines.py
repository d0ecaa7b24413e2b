"""Mixtures of Gaussians in many dimensions: found, and with no more than samples can tell."""

import torch

from jeffreysflow.estimation.far_apart import far_apart
from jeffreysflow.estimation.fit_lines import fit_lines
from jeffreysflow.potentials import get_potential
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples


def divergence(law: LineMixture, energy: torch.Tensor, x: torch.Tensor) -> float:
    """``KL(exp(-U) | law)`` by samples of the former, normalised."""
    return float((-energy - law.log_density(x)).mean())


def test_wells_are_found_whose_distance_is_small_beside_their_widths() -> None:
    d = 300
    wells = get_potential("two_wells", dimension=d)
    x, _ = exact_samples(wells, 4000, Stream(1, "x"))
    # no pair of samples tells: within a well they are as far from each other
    both = x[:, 0] < 0
    within, between = torch.cdist(x[both], x[both]), torch.cdist(x[both], x[~both])
    assert float(between.mean() / within[within > 0].mean()) < 1.1
    law = fit_lines(x[:3600], x[3600:], 3, Stream(2, "c"))
    # an exact map gives as many samples of both
    left, right = sorted(zip(law.means[:, 0].tolist(), law.weights.tolist(), strict=True))
    assert left[0] < -1.9
    assert right[0] > 1.9
    assert abs(left[1] - float(both.double().mean())) < 0.02


def test_independent_coordinates_need_no_covariances() -> None:
    d, n = 60, 400
    sd = torch.linspace(0.3, 3, d).double()
    x = Stream(3, "x").normal(n + 5000, d) * sd
    energy = (
        0.5 * (x / sd).square().sum(dim=1)
        + sd.log().sum()
        + 0.5 * d * torch.log(torch.tensor(2 * torch.pi))
    )
    law = fit_lines(x[:300], x[300:n], 1, Stream(4, "c"))
    # means and variances alone: d / n
    assert divergence(law, energy[n:], x[n:]) < 2 * d / 300
    # the control: turned, they need d^2 / 4 n and more
    turn = torch.linalg.qr(Stream(5, "Q").normal(d, d)).Q
    turned = fit_lines(x[:300] @ turn, x[300:n] @ turn, 1, Stream(4, "c"))
    assert divergence(turned, energy[n:], x[n:] @ turn) > d**2 / (4 * 300)


def test_components_begin_in_all_clusters() -> None:
    centres = 10 * torch.eye(10).double().repeat(1, 10)
    found = []
    for seed in range(20):
        x = (centres[:, None] + Stream(seed, "x").normal(10, 50, 100)).flatten(0, 1)
        apart = torch.cdist(x, x).square()
        rows = far_apart(len(x), 10, lambda some, apart=apart: apart[:, some], Stream(seed, "c"))
        found.append(len({row // 50 for row in rows}))
    # the control: of independent points 6.5 clusters are met on average
    assert sum(found) / 20 > 9.5
