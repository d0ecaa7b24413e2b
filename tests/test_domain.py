import math

import torch

from jeffreysflow.domain import Domain


def test_wrap_brings_periodic_coordinates_back_and_leaves_others() -> None:
    domain = Domain((None, (-math.pi, math.pi)))
    x = torch.tensor([[9.0, 4.0], [-9.0, -4.0], [0.0, math.pi]], dtype=torch.float64)
    wrapped = domain.wrap(x)
    assert torch.equal(wrapped[:, 0], x[:, 0])
    assert torch.allclose(
        wrapped[:, 1], torch.tensor([4 - 2 * math.pi, 2 * math.pi - 4, -math.pi]).double()
    )


def test_wrap_never_returns_the_upper_end() -> None:
    domain = Domain.torus(1)
    x = torch.tensor([[-math.pi - 1e-17], [-math.pi - 1e-30], [3 * math.pi]], dtype=torch.float64)
    assert bool((domain.wrap(x) < math.pi).all())
    assert bool((domain.wrap(x) >= -math.pi).all())


def test_circular_centre_and_variance_at_the_seam() -> None:
    domain = Domain.torus(1)
    generator = torch.Generator().manual_seed(1)
    narrow = 0.05 * torch.randn(100_000, 1, dtype=torch.float64, generator=generator)
    x = domain.wrap(narrow + math.pi)
    distance = domain.wrap(domain.centre(x)[None] - math.pi)
    assert abs(float(distance)) < 5 * 0.05 / math.sqrt(100_000)
    assert math.isclose(float(domain.variance(x)), 0.05**2, rel_tol=0.03)
    assert float(Domain.euclidean(1).variance(x)) > 1  # what a Euclidean view would make of it


def test_euclidean_centre_and_variance_are_the_ordinary_ones() -> None:
    x = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    domain = Domain.euclidean(2)
    assert domain.centre(x).tolist() == [1.0, 3.0]
    assert domain.variance(x).tolist() == [1.0, 4.0]
