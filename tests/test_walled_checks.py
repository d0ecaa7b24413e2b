"""Nothing is asked of an energy beyond its walls: by checks, kernels, walks, boxes or facts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.outside import mass_beyond, outside_facts
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import spline_box
from jeffreysflow.pathintegral.checks import check_bounded_below
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.checks import check_potential, check_resolution
from jeffreysflow.potentials.consistency import check_consistency
from jeffreysflow.potentials.probe import check_density
from jeffreysflow.report.data import view_limits
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.metric import Spread, metric_of
from jeffreysflow.tempering.relaxed import points_with_mass
from jeffreysflow.tempering.tuning import _largest_step
from jeffreysflow.truth.line_grid import line_grid

MIXED = Domain((None, (-1.0, 1.0), None), (None, None, (0.0, 1.0)))


class Strict(Potential):
    """Refuses what lies beyond a wall, with a law that ends abruptly there."""

    def __init__(self, domain: Domain, energy: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.domain, self._energy = domain, energy

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        for i, wall in enumerate(self.domain.walls):
            if wall is not None and bool(((x[:, i] < wall[0]) | (x[:, i] > wall[1])).any()):
                raise RuntimeError("beyond a wall")
        return self._energy(x)


def box(d: int) -> Strict:
    return Strict(Domain.box(d), lambda x: 5 * x.sum(dim=1) + torch.sqrt(x[:, 0]))


ENERGIES = {
    "box": box(3),
    "interval": box(1),
    "wells": Strict(Domain.box(2, -2, 2), lambda x: (8 * (x.square() - 1).square()).sum(dim=1)),
    "a pole at a wall": Strict(Domain.box(2), lambda x: -0.5 * x.log().sum(dim=1)),
    "mixed": Strict(
        MIXED, lambda x: x[:, 0].square() + torch.cos(torch.pi * x[:, 1]) + 9 * x[:, 2]
    ),
}


@pytest.mark.parametrize("walls", ["uniform", "truncated"])
@pytest.mark.parametrize("name", ENERGIES)
def test_checks_stay_between_walls_and_find_nothing(name: str, walls: str) -> None:
    target = ENERGIES[name]
    base = Base(target.domain, 0.3, 0.8, walls=walls)  # type: ignore[arg-type]
    for seed in range(3):
        check_potential(target, base, name, seed)
        check_consistency(target, base, name, seed)
        check_resolution(target, base, name, seed)
        check_density(target, base, name, seed)
    x, U = points_with_mass(
        target.energy, base.sample(500, Stream(1)), base.sd, target.domain, Stream(2)
    )
    assert len(x) > 100
    assert torch.equal(U, target.energy(x))


def test_a_box_needs_no_tail_but_a_line_beside_it_does() -> None:
    flat = Strict(MIXED, lambda x: 0 * x[:, 0])
    with pytest.raises(UserError, match="not a density"):
        check_density(flat, Base(MIXED), "mine")
    check_density(Strict(Domain.box(2), lambda x: 0 * x[:, 0]), Base(Domain.box(2)), "mine")


def test_a_wrong_gradient_and_coarse_steps_are_seen_between_walls() -> None:
    class Wrong(Strict):
        def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            energy, gradient = super().energy_and_gradient(x)
            return energy, -gradient

    wrong = Wrong(Domain.box(2), lambda x: 5 * x.sum(dim=1))
    with pytest.raises(UserError, match=r"the gradient of energy.x. is not its slope"):
        check_consistency(wrong, Base(wrong.domain), "mine")
    coarse = Strict(Domain.box(2), lambda x: 5 * x.sum(dim=1) + 1e15)
    with pytest.raises(UserError, match="in steps of about"):
        check_resolution(coarse, Base(coarse.domain), "mine")


@pytest.mark.parametrize("kernel", ["mala", "hmc", "slice", "random_walk"])
def test_rejuvenation_keeps_to_the_box(kernel: str) -> None:
    target = ENERGIES["box"]
    path = AnnealingPath(Base(target.domain), target)
    x = Base(target.domain).sample(400, Stream(3))
    before = Ensemble(x, torch.zeros(400).double(), *path.energies(x))
    after, acceptance = rejuvenated(before, path, 1.0, get_kernel(kernel), 3, 400, Stream(4))
    assert 0.2 < acceptance < 1.0
    assert bool(((after.x >= 0) & (after.x <= 1)).all())
    assert not torch.equal(after.x, x)


def test_a_box_has_no_outside() -> None:
    target = ENERGIES["mixed"]
    base = Base(MIXED, 0.0, 1.0)
    x = base.sample(2000, Stream(5))
    box = spline_box(base, x)
    assert (box.lower[1:], box.upper[1:]) == ([-1.0, 0.0], [1.0, 1.0])
    assert box.open == [True, False, False]
    ensemble = Ensemble(x, torch.zeros(2000).double(), *AnnealingPath(base, target).energies(x))
    facts = outside_facts(base, box, x, ensemble, target.energy)
    assert facts["outside_base"] < 1e-14
    assert facts["outside_predicted"] < 1e-6
    whole = ENERGIES["box"]
    cube = spline_box(Base(whole.domain))
    assert cube.open == [False] * 3
    inside = Base(whole.domain).sample(100, Stream(6))
    energies = AnnealingPath(Base(whole.domain), whole).energies(inside)
    ensemble = Ensemble(inside, torch.zeros(100).double(), *energies)
    assert mass_beyond(whole.energy, ensemble, cube)[:2] == (0.0, 0.0)


def test_the_metric_of_a_box_is_its_standard_deviation_and_steps_end_at_its_size() -> None:
    domain = Domain.box(2)
    x = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0)).double()
    x[:, 1] *= 0.01
    spread = Spread(1, domain, torch.full((2,), 0.5).double())
    spread.add(x, torch.zeros(5000, dtype=torch.int64))
    scale = metric_of(spread.count.numpy(), spread.first.numpy(), spread.second.numpy(), domain)
    assert scale[0, 0] / scale[0, 1] == pytest.approx(100, rel=0.05)
    for name, longest in (("hmc", 3.0), ("mala", 4.5)):
        kernel = get_kernel(name)
        assert _largest_step(Domain.box(2, -1, 2), kernel) == longest
        assert _largest_step(MIXED, kernel) == float("inf")
        assert _largest_step(Domain(((0.0, 3.0), None), (None, (0.0, 1.0))), kernel) == longest


def test_a_figure_shows_the_whole_box() -> None:
    x = torch.rand(100, 3).numpy()
    assert view_limits(x, MIXED.intervals, None)[1:] == [(-1.0, 1.0), (0.0, 1.0)]


def test_path_integrals_have_no_walls() -> None:
    with pytest.raises(UserError, match="without periodic coordinates or walls"):
        RingPolymer(box(1), 1.0, 8)
    with pytest.raises(UserError, match="without periodic coordinates or walls"):
        check_bounded_below(box(1), "mine")
    with pytest.raises(UserError, match="1 of them periodic or between walls"):
        line_grid(box(1), 1.0, 0.1)
