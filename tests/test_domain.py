import math

import pytest
import torch

from jeffreysflow.domain import Domain, held, narrow


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


def test_walls_reflect_as_often_as_it_takes_and_say_which_way_a_coordinate_then_points() -> None:
    domain = Domain((None, (0.0, 1.0), None), (None, None, (0.0, 2.0)))
    x = torch.tensor([[9.0, 1.25, 0.5], [9.0, 0.5, -0.5], [9.0, 0.5, 4.5], [9.0, 0.5, 7.5]])
    folded, sign = domain.fold(x)
    assert folded.tolist() == [[9.0, 0.25, 0.5], [9.0, 0.5, 0.5], [9.0, 0.5, 0.5], [9.0, 0.5, 0.5]]
    assert sign[:, 2].tolist() == [1.0, -1.0, 1.0, -1.0]
    assert bool((sign[:, :2] == 1).all())
    assert domain.walled.tolist() == [False, False, True]


def test_what_lies_between_walls_keeps_its_bits_and_a_wall_belongs_to_the_box() -> None:
    x = torch.rand(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    x[0] = torch.tensor([3.0, 0.0])
    folded, sign = Domain.box(2, 0.0, 3.0).fold(x)
    assert torch.equal(folded, x)
    assert bool((sign == 1).all())


@pytest.mark.parametrize("walls", [((0.0, 1.0),), ((0.0, 1.0), None)])
def test_walls_are_one_pair_a_coordinate_and_not_on_a_circle(walls: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"walls"):
        Domain(((0.0, 1.0), None), walls)


def test_every_interval_is_known_whatever_its_ends() -> None:
    domain = Domain((None, (0.0, 1.0), None), (None, None, (0.0, 2.0)))
    assert domain.intervals == (None, (0.0, 1.0), (0.0, 2.0))
    assert domain.bounded.tolist() == [False, True, True]
    assert Domain.euclidean(2).intervals == (None, None)


def test_nothing_is_folded_out_of_a_box_whose_walls_a_float_misses() -> None:
    ends = (0.1, 0.7)
    lower, upper = held(ends, torch.float32)
    assert lower >= 0.1 > torch.tensor(0.1).nextafter(torch.tensor(0.0)).item()
    assert upper <= 0.7 < torch.tensor(upper).nextafter(torch.tensor(1.0)).item()
    assert held(ends, torch.float64) == ends
    domain = Domain((None,), (ends,))
    x = torch.linspace(-1, 2, 3001)[:, None]
    for points in (x, torch.tensor([[0.1], [0.7]])):
        folded = domain.wrap(points).double()
        assert bool(((folded >= 0.1) & (folded <= 0.7)).all())
    at_walls = torch.tensor([[0.1], [0.7], [0.3]], dtype=torch.float64)
    rounded = domain.rounded(at_walls, torch.float32)
    assert rounded.dtype == torch.float32
    assert rounded[:, 0].tolist() == [lower, upper, torch.tensor(0.3).item()]
    assert torch.equal(domain.rounded(at_walls, torch.float64), at_walls)


def test_narrow_is_what_single_precision_does_not_resolve() -> None:
    assert narrow((1.7e9, 1.7e9 + 60))
    assert narrow((-1.7e9 - 60, -1.7e9))
    for interval in ((0.0, 1e-30), (-math.pi, math.pi), (1000.0, 1000.1), (-1e308, 1e308)):
        assert not narrow(interval)
        lower, upper = held(interval, torch.float32)
        assert lower < upper
