"""What is refused before any work: NaN, coarse energies, no densities, what the base cannot reach;
and what is not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Base, Potential
from jeffreysflow.potentials.checks import check_potential, check_resolution
from jeffreysflow.potentials.probe import check_density

Function = Callable[[torch.Tensor], torch.Tensor]
INF = math.inf


class Plain(Potential):
    """A function as a potential."""

    def __init__(self, function: Function, d: int, domain: Domain | None = None) -> None:
        super().__init__()
        self.domain = domain or Domain.euclidean(d)
        self._function = function

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._function(x)


def square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(dim=-1)


def wells(a: float) -> Function:
    return lambda x: -torch.logaddexp(-square(x - a) / 2, -square(x + a) / 2)


def student(nu: float, d: int) -> Function:
    return lambda x: (nu + d) / 2 * torch.log1p(square(x) / nu)


def product_student(nu: float) -> Function:
    return lambda x: ((nu + 1) / 2 * torch.log1p(x**2 / nu)).sum(dim=-1)


def lennard_jones(x: torch.Tensor) -> torch.Tensor:
    """Three particles in the plane, held together by nothing else."""
    y = x.reshape(len(x), 3, 2)
    r2 = torch.stack([(y[:, i] - y[:, j]).square().sum(-1) for i, j in ((0, 1), (0, 2), (1, 2))])
    return (4 * (r2**-6 - r2**-3)).sum(dim=0)


def funnel(x: torch.Tensor) -> torch.Tensor:
    d = x.shape[1] - 1
    return x[:, 0] ** 2 / 18 + (-x[:, 0]).exp() * square(x[:, 1:]) / 2 + d / 2 * x[:, 0]


# densities, each with d and the base's sd
DENSITIES: dict[str, tuple[Function, int, float]] = {
    "Gaussian": (lambda x: square(x) / 2, 2, 1.0),
    "Gaussian, 64 d": (lambda x: square(x) / 2, 64, 1.0),
    "Cauchy": (student(1, 1), 1, 1.0),
    "Cauchy, 10 d": (student(1, 10), 10, 1.0),
    "Cauchy in each of 10": (product_student(1), 10, 1.0),
    "Student, 30 d": (student(3, 30), 30, 1.0),
    "wells": (wells(10.0), 2, 1.0),
    "wells on a line": (wells(15.0), 1, 1.0),
    "wells, 10 d": (wells(8.0), 10, 1.0),
    "wall": (lambda x: torch.where(x[:, 0] > 0, square(x) / 2, INF), 2, 1.5),
    "box": (lambda x: torch.where(x.abs().amax(-1) < 5.5, 0 * square(x), INF), 2, 1.5),
    "NaN far out": (lambda x: square(x) / 2 + 0 * (30 - x[:, 0]).sqrt(), 2, 1.0),
    "overflow": (lambda x: (x**80 - x**60).sum(-1), 2, 1.0),
    "wide base": (lambda x: square(x - 2) / 2, 2, 500.0),
    "narrow": (lambda x: 1e8 * square(x), 3, 1.0),
    "funnel": (funnel, 5, 1.0),
    "valley": (lambda x: (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2, 2, 1.0),
    "one wide coordinate": (lambda x: x[:, 0] ** 2 / 8e4 + x[:, 1] ** 2 / 2, 2, 1.0),
    "20 times wider": (lambda x: square(x) / 800, 3, 1.0),
    "held at one end": (lambda x: 50 * square(x[:, 1:] - x[:, :-1]) + x[:, 0] ** 2 / 2, 10, 1.0),
    "narrowing axis": (lambda x: x[:, 0] ** 2 * (x[:, 1] ** 2).exp(), 2, 1.0),
    "cut off": (lambda x: (square(x) / 2).clamp(max=1000.0), 2, 1.0),
    "raises far out": (lambda x: square(x) / (1 if float(x.detach().max()) < 99 else 0), 2, 1.0),
}
NO_DENSITIES: dict[str, tuple[Function, int, float]] = {
    "plateau": (lambda x: -4 * (-square(x - 1.5)).exp() - 4 * (-square(x + 1.5)).exp(), 2, 2.0),
    "deep well on a plateau": (lambda x: -20 * (-square(x)).exp(), 2, 2.0),
    "well on a line": (lambda x: -15 * (-square(x - 1)).exp(), 1, 2.0),
    "constant": (lambda x: 0 * square(x), 3, 1.0),
    "slope": (lambda x: x[:, 0], 2, 1.0),
    "cubic": (lambda x: (x**3).sum(-1), 2, 1.0),
    "falls late": (lambda x: square(x) / 2 - 1e-9 * (x**4).sum(-1), 2, 1.0),
    "flat along the axes": (lambda x: x[:, 0] ** 2 * x[:, 1] ** 2, 2, 1.0),
    "flat along one axis": (lambda x: x[:, 0] ** 2 * x[:, 1] ** 4, 2, 1.0),
    "forgotten coordinate": (lambda x: x[:, 0] ** 2 / 2 + 0 * x[:, 1], 2, 1.0),
    "free to move together": (lambda x: (x[:, 0] + 2 * x[:, 1]) ** 2 + x[:, 2] ** 2, 3, 1.0),
    "free particles": (lennard_jones, 6, 1.0),
    "too slow": (lambda x: 4.5 * torch.log1p(square(x)), 10, 1.0),
    "dissociation": (lambda x: 10 * (1 - (-x).exp()).square().sum(-1), 1, 1.0),
}
OUT_OF_REACH: dict[str, tuple[Function, int, float, str]] = {
    "wide": (lambda x: square(x) / 8e4, 2, 1.5, r"base.sd to about (2|1\.9e)"),
    "wide, 10 d": (lambda x: square(x) / 2e4, 10, 1.0, "base.sd to about 1e.02 "),
    "elsewhere": (lambda x: square(x - 1000) / 2, 2, 1.0, "move base.mean there"),
    "elsewhere on a line": (lambda x: square(x - 1000) / 2, 1, 1.0, "move base.mean there"),
    "small base": (lambda x: square(x) / 2, 3, 1e-3, "base.sd to about [01]"),
}


def check(function: Function, d: int, sd: float, seed: int = 0, *, one: bool = False) -> None:
    potential = Plain(function, d)
    potential.one_at_a_time = one
    check_density(potential, Base(potential.domain, 0.0, sd), "mine", seed)


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("case", DENSITIES)
def test_a_density_within_reach_passes(case: str, one: bool) -> None:
    for seed in range(3):
        check(*DENSITIES[case], seed, one=one)


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("case", NO_DENSITIES)
def test_what_is_no_density_is_refused(case: str, one: bool) -> None:
    for seed in range(3):
        with pytest.raises(UserError, match=r"^mine: not a density: ") as caught:
            check(*NO_DENSITIES[case], seed, one=one)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("case", OUT_OF_REACH)
def test_what_the_base_cannot_reach_is_refused_with_its_scale(case: str, one: bool) -> None:
    function, d, sd, message = OUT_OF_REACH[case]
    for seed in range(3):
        with pytest.raises(UserError, match="out of reach: .*" + message):
            check(function, d, sd, seed, one=one)


def test_a_circle_needs_no_tail() -> None:
    circle = Domain(((-math.pi, math.pi), None))
    for second in (lambda x: x[:, 1] ** 2, lambda x: 0 * x[:, 1]):
        potential = Plain(lambda x, f=second: torch.cos(x[:, 0]) + f(x), 2, circle)
        if float(second(torch.ones(1, 2))):
            check_density(potential, Base(circle), "mine")
        else:
            with pytest.raises(UserError, match="not a density"):
                check_density(potential, Base(circle), "mine")
    torus = Plain(lambda x: torch.cos(x).sum(-1), 2, Domain.torus(2))
    check_density(torus, Base(torus.domain), "mine")


def single(function: Function) -> Function:
    return lambda x: function(x.float())


@pytest.mark.parametrize(
    ("function", "steps"),
    [
        (single(lambda x: square(x) / 2 + 2e7), "2 kT"),
        (single(lambda x: square(x) / 2 - 2e7), "2 kT"),
        (single(lambda x: square(x) / 2 + 2e9), "1.3e.02 kT"),
        (lambda x: 1.5 * (square(x.float()) / 2 + 2e7).double(), "3 kT"),
        (lambda x: square(x) / 2 + 1e15, "0.12 kT"),
        (lambda x: (square(x) / 2 + 50).half(), "0.031 kT"),
    ],
)
def test_an_energy_known_in_coarse_steps_is_refused(function: Function, steps: str) -> None:
    potential = Plain(function, 2)
    with pytest.raises(UserError, match=f"in steps of about {steps} .*subtract the offset"):
        check_resolution(potential, Base(potential.domain, 0.0, 1.5), "mine")


@pytest.mark.parametrize(
    "function",
    [
        single(lambda x: square(x) / 2),
        single(lambda x: square(x) / 2 + 2e4),
        single(lambda x: 1e6 * square(x)),
        lambda x: (square(x.float()) / 2).double() + 2e7,
        lambda x: square(x) / 2 + 1e12,
        lambda x: 1e12 * square(x - 3),
        lambda x: torch.where(x.abs().amax(-1) < 3, 0 * square(x) + 1e6, INF),
        single(lambda x: 1000 * (x[:, 1] - x[:, 0] ** 2) ** 2 + square(x)),
    ],
)
def test_an_energy_of_ordinary_size_passes(function: Function) -> None:
    potential = Plain(function, 2)
    for seed in range(3):
        check_resolution(potential, Base(potential.domain, 0.0, 1.5), "mine", seed)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: square(x) + 0 * (1 - x[:, 0]).sqrt(), r"not finite at x = .*\d+ such among 200"),
        (lambda x: torch.where(x[:, 0] > 1, -INF, square(x)), r"not finite at x = "),
        (lambda x: square(x) + INF, r"\+inf at all of 2000 .*base.mean and base.sd"),
        (lambda x: square(x) + 0 * (x[:, 0] + x[:, 0].abs()).sqrt(), "the gradient .* not finite"),
    ],
)
def test_what_is_not_finite_at_base_samples_is_named(function: Function, message: str) -> None:
    potential = Plain(function, 2)
    with pytest.raises(UserError, match="^mine: .*" + message) as caught:
        check_potential(potential, Base(potential.domain), "mine")
    assert "\n" not in str(caught.value)


def test_a_wall_is_no_mistake() -> None:
    # in the wall the gradient is NaN
    walled = Plain(
        lambda x: torch.where(x[:, 0] > 0, square(x), INF) + 0 * (x[:, 0] + x[:, 0].abs()).sqrt(), 2
    )
    check_potential(walled, Base(walled.domain), "mine")
