"""The cluster of thirteen particles: its definition, its walls and its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.potentials import get_potential
from jeffreysflow.streams import Stream

CLUSTER = get_potential("lennard_jones_13")


def spread(n: int, sd: float = 1.5) -> torch.Tensor:
    return sd * Stream(1, "cluster").normal(n, 39)


def written_out(x: torch.Tensor) -> tuple[float, float]:
    """U of one sample [39], and the part of the centroid, particle by particle."""
    r = x.reshape(13, 3)
    pairs = 0.0
    for i in range(13):
        for j in range(13):
            if i != j:
                d = float((r[i] - r[j]).norm())
                pairs += d**-12 - 2 * d**-6
    centroid = r.mean(dim=0)
    trap = 0.5 * float((r - centroid).square().sum())
    return pairs + trap, 6.5 * float(centroid.square().sum())


def test_the_definition() -> None:
    x = spread(5)
    energies, without = CLUSTER.energy(x), CLUSTER.observables["energy"](x)
    for row, total, part in zip(x, energies, without, strict=True):
        energy, centroid = written_out(row)
        assert float(total) == pytest.approx(energy + centroid, rel=1e-12)
        assert float(part) == pytest.approx(energy, rel=1e-12)
        # the usual sum, over unordered pairs, is another energy
        trap = 0.5 * float(row.square().sum())
        assert abs(float(total) - (0.5 * (energy + centroid - trap) + trap)) > 0.1


def test_observables() -> None:
    x = spread(20)
    r = x.reshape(20, 13, 3)
    distances = torch.cdist(r, r) + 1e9 * torch.eye(13, dtype=torch.float64)
    found = {name: value(x) for name, value in CLUSTER.observables.items()}
    torch.testing.assert_close(found["smallest_distance"], distances.amin(dim=(1, 2)))
    gyration = (distances.where(distances < 1e6, 0.0).square().sum(dim=(1, 2)) / 2 / 169).sqrt()
    torch.testing.assert_close(found["gyration"], gyration)


def test_what_leaves_the_cluster_as_it_is() -> None:
    x = spread(4)
    r = x.reshape(4, 13, 3)
    turn, _ = torch.linalg.qr(Stream(2, "turn").normal(3, 3))
    order = Stream(3, "order").permutation(13)
    torch.testing.assert_close(CLUSTER.energy((r @ turn)[:, order].flatten(1)), CLUSTER.energy(x))
    moved = (r + double_row(0.3, -0.2, 0.5)).flatten(1)
    for value in CLUSTER.observables.values():
        torch.testing.assert_close(value(moved), value(x))
    assert float((CLUSTER.energy(moved) - CLUSTER.energy(x)).abs().min()) > 1e-3


def double_row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_particles_that_coincide(dtype: torch.dtype) -> None:
    """Energies are finite or +inf and gradients finite, whatever the distance."""
    x = spread(40).to(dtype)
    gaps = torch.logspace(-30, 0, 39, dtype=dtype)
    x[1:, 3:5], x[1:, 5] = x[1:, :2], x[1:, 2] + gaps
    x[0] = 0.0
    energy, gradient = CLUSTER.energy_and_gradient(x)
    assert not bool(energy.isnan().any())
    assert bool(gradient.isfinite().all())
    walls = energy == math.inf
    assert bool(walls[0])
    assert 20 < int(walls.sum()) < 39
    assert bool((gradient[walls] == 0).all())
    y = x.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(CLUSTER.energy(y).sum(), y)
    assert bool(automatic.isfinite().all())


def test_the_gradient_is_that_of_the_energy() -> None:
    x = spread(20, 1.0)
    energy, gradient = CLUSTER.energy_and_gradient(x)
    y = x.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(CLUSTER.energy(y).sum(), y)
    assert torch.equal(energy, CLUSTER.energy(x))
    torch.testing.assert_close(gradient, automatic, rtol=1e-10, atol=1e-10)
