"""Exact values by shifted lattices: right, with errors that hold, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.observables import Function
from jeffreysflow.estimation.student import normal_equivalent
from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.truth.lattice import Cell, shells, unit_lattice
from jeffreysflow.truth.lattice_means import LatticeMeans, UnresolvedError, lattice_means
from jeffreysflow.truth.quadrature import tensor_quadrature
from test_truth import CHECKS, FUNCTIONS

DOF = 7
NOISE = 1 / math.sqrt(320_000)
"""Standard error of as many independent samples, in standard deviations."""

X, X2 = (lambda x, U: x[:, 0]), (lambda x, U: x[:, 0].square())


class Formula(Potential):
    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        dimension: int,
        domain: Domain | None = None,
    ) -> None:
        super().__init__()
        self.domain = domain or Domain.euclidean(dimension)
        self._function = function

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._function(x)


def gaussian(dimension: int, sd: float = 1.0, mean: float = 0.0) -> Potential:
    return Formula(lambda x: 0.5 * ((x - mean) / sd).square().sum(dim=1), dimension)


def log_z(dimension: int, sd: float = 1.0) -> float:
    return dimension * math.log(sd * math.sqrt(2 * math.pi))


def means(
    potential: Potential,
    functions: Sequence[Function],
    half: float | Sequence[tuple[float, float]] | None,
    points: int = 1024,
) -> LatticeMeans:
    box = [(-half, half)] * potential.dimension if isinstance(half, float) else half

    def values(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        return torch.stack([f(x, U).to(torch.float64) for f in functions], dim=1)

    return lattice_means(potential, values, box, points)


def below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


# ---- lattices


@pytest.mark.parametrize("n", [1, 50, 4096, 75_025])
def test_lattices_are_distinct_on_axes_and_diagonals(n: int) -> None:
    u = unit_lattice(n, 2)
    assert len(u) >= n
    for line in (u[:, 0], u[:, 1], (u.sum(dim=1)) % 1, (u[:, 0] - u[:, 1]) % 1):
        spacing = (line * len(u)).round().remainder(len(u)).unique()
        assert len(spacing) >= 0.5 * len(u)
    assert torch.equal(unit_lattice(8, 1)[:, 0], torch.arange(8) / 8)


def test_shells_fill_what_is_around_a_box() -> None:
    cell = Cell(torch.tensor([1.0, -2.0]).double(), torch.tensor([2.0, 4.0]).double())
    for k, (x, log_volume) in enumerate(shells(cell, Domain.euclidean(2), 20_000, 3)):
        scale = ((x - torch.tensor([2.0, 0.0])).abs() / torch.tensor([1.0, 2.0])).amax(dim=1)
        assert float(scale.min()) > 1.5 ** (k / 2)
        assert float(scale.max()) < 1.5 ** ((k + 1) / 2)
        volume = 8 * 1.5**k * 0.5
        assert len(x) * math.exp(log_volume) == pytest.approx(volume, rel=1e-3)
    half = Domain((None, (-2.0, 2.0)))
    (x, log_volume), *_ = shells(cell, half, 20_000, 1)
    assert float(x[:, 1].abs().max()) < 2
    assert len(x) * math.exp(log_volume) == pytest.approx(8 * (math.sqrt(1.5) - 1), rel=1e-3)


# ---- right values


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("points", [256, 1024])
def test_check_values(name: str, points: int) -> None:
    half, _, exact, minus_log_z, _ = CHECKS[name]
    found = means(get_potential(name), FUNCTIONS, half, points)
    assert -found.log_Z == pytest.approx(minus_log_z, abs=6e-6)
    assert found.means.tolist() == pytest.approx(exact, abs=6e-7)
    assert 0 < found.log_Z_error < 1e-7
    assert float(found.errors.max()) < 1e-7
    assert float(found.errors.min()) > 0, "rounding has a floor"


def test_the_box_of_the_paper_cuts_the_last_digit_and_says_so() -> None:
    narrow = means(get_potential("multi_well"), FUNCTIONS, 7.0)
    wide = means(get_potential("multi_well"), FUNCTIONS, 10.0)
    off = (narrow.means - wide.means).abs()
    assert bool((off <= narrow.errors).all())
    assert 1e-6 < abs(narrow.log_Z - wide.log_Z) <= narrow.log_Z_error < 5e-6


def test_periodic_well() -> None:
    functions = [
        lambda x, U, w=wave, k=k, i=i: w(k * x[:, i])
        for wave in (torch.sin, torch.cos)
        for k in (1, 2)
        for i in (0, 1)
    ]
    product = [lambda x, U: (2 * x).sin().prod(dim=1)]
    found = means(get_potential("periodic_well"), [*functions, *product], None, 256)
    assert found.log_Z == pytest.approx(5.208886, abs=6e-7)
    assert float(found.means[-1]) == pytest.approx(-0.701037, abs=6e-7)
    assert float(found.means[:-1].abs().max()) < 1e-10
    assert float((found.means[:-1] / found.errors[:-1]).abs().max()) < 5
    assert bool((found.outside == 0).all())


# ---- indicators and kinks


EDGES = [-1.7, -0.81, 0.13, 0.5, 1.37]


def edges_1d() -> tuple[list[Function], list[float]]:
    return [lambda x, U, e=e: x[:, 0] < e for e in EDGES], [below(e) for e in EDGES]


def edges_2d() -> tuple[list[Function], list[float]]:
    axis = [lambda x, U, e=e: x[:, 1] < e for e in EDGES]
    diagonal = [lambda x, U, e=e: x.sum(dim=1) < e for e in EDGES]
    slanted = [lambda x, U, e=e: x[:, 0] + 2.3 * x[:, 1] < e for e in EDGES]
    radii = [0.4, 0.9, 1.6, 2.2]
    circle = [lambda x, U, r=r: x.square().sum(dim=1) < r**2 for r in radii]
    exact = [below(e / c) for c in (1, math.sqrt(2), math.hypot(1, 2.3)) for e in EDGES]
    exact += [1 - math.exp(-(r**2) / 2) for r in radii]
    return [*axis, *diagonal, *slanted, *circle], exact


@pytest.mark.parametrize(("dimension", "points"), [(1, 64), (1, 1024), (2, 64)])
def test_errors_of_indicators_hold_and_are_far_below_noise(dimension: int, points: int) -> None:
    functions, exact = edges_1d() if dimension == 1 else edges_2d()
    found = means(gaussian(dimension), functions, 6.0, points)
    off = found.means - torch.tensor(exact, dtype=torch.float64)
    z = off / found.errors
    normal = torch.tensor([abs(normal_equivalent(float(each), DOF)) for each in z])
    assert float(normal.max()) < 4
    assert float(z.square().mean()) < 3, "a Student's t of 7 degrees of freedom has 1.4"
    noise = NOISE * found.variances.sqrt()
    assert bool((found.errors < 0.4 * noise).all()), "small circles are the worst"
    assert float((found.errors / noise).median()) < 0.05
    # negative control: the nodes of a tensor grid lie on either side of an edge
    grid = tensor_quadrature(gaussian(dimension), [(-6.0, 6.0)] * dimension, 256)
    naive = torch.tensor(
        [grid.mean_and_variance(lambda x, U, f=f: f(x, U).double())[0] for f in functions]
    )
    assert float(((naive - torch.tensor(exact)).abs() / noise).max()) > 5


def test_the_edge_of_the_issue() -> None:
    found = means(gaussian(1, mean=0.5), [lambda x, U: x[:, 0] < 0.5], 8.5)
    assert abs(float(found.means) - 0.5) < 4.5 * float(found.errors) < 1e-4


def test_kinks_rare_events_and_large_offsets() -> None:
    functions = [
        lambda x, U: x[:, 0].abs(),
        lambda x, U: x[:, 0] > 4.5,
        lambda x, U: x[:, 0].square() + 1e8,
    ]
    for dimension in (1, 2):
        found = means(gaussian(dimension), functions, 9.0)
        exact = torch.tensor([math.sqrt(2 / math.pi), below(-4.5), 1e8 + 1], dtype=torch.float64)
        assert bool(((found.means - exact).abs() < 4.5 * found.errors).all())
        assert float(found.errors[0]) < 1e-7
        assert float(found.errors[1]) < 0.01 * below(-4.5)
        assert float(found.variances[2]) == pytest.approx(2.0, rel=1e-9)
        assert 0 < float(found.errors[2]) < 1e-5


# ---- what lies outside the box


@pytest.mark.parametrize("half", [3.5, 4.0, 5.0, 6.0])
@pytest.mark.parametrize("dimension", [1, 2])
def test_errors_hold_what_the_box_cuts(dimension: int, half: float) -> None:
    found = means(gaussian(dimension), [X, X2], half)
    off = (found.means - torch.tensor([0.0, 1.0])).abs()
    assert bool((off <= 1.001 * found.errors).all())
    assert float(off[1]) > 0.5 * float(found.errors[1]), "and no more"
    assert 0.5 < abs(found.log_Z - log_z(dimension)) / found.log_Z_error < 1.001
    # negative control: the grid says nothing of it
    grid = (found.errors.square() - found.outside.square()).clamp(min=0).sqrt()
    assert float(off[1]) > 1e5 * float(grid[1])


@pytest.mark.parametrize("box", [[(0.0, 9.0), (-9.0, 9.0)], [(-9.0, 9.0), (-9.0, 9.0)]])
def test_a_hard_wall_is_no_fault_of_a_box(box: list[tuple[float, float]]) -> None:
    for beyond in (torch.inf, 1e300):
        half = Formula(lambda x, b=beyond: torch.where(x[:, 0] > 0, x.square().sum(1) / 2, b), 2)
        found = means(half, [X, X2], box, 256)
        off = found.means - torch.tensor([math.sqrt(2 / math.pi), 1.0], dtype=torch.float64)
        assert bool((off.abs() < 4.5 * found.errors).all())
        assert float(found.errors.max()) < 2e-4
        assert abs(found.log_Z - log_z(2) + math.log(2)) < 4.5 * found.log_Z_error < 1e-3


def test_tails_fall_on_as_a_power_law() -> None:
    """Student's t of 3 degrees of freedom: <x^2> = 3 comes from far away, <x^4> is infinite."""
    student = Formula(lambda x: 2 * torch.log1p(x[:, 0].square() / 3), 1)
    found = means(student, [X2, lambda x, U: x[:, 0] ** 4, lambda x, U: x[:, 0] > 15], 100.0)
    off = abs(float(found.means[0]) - 3)
    assert 0.8 * float(found.errors[0]) < off <= 1.01 * float(found.errors[0])
    assert math.isinf(float(found.errors[1]))
    # the density is 6 sqrt(3) / (pi (3 + x^2)^2)
    assert float(found.means[2]) == pytest.approx(3.2e-4, rel=0.05)
    assert float(found.errors[2]) < 1e-5


def test_what_is_no_number_outside() -> None:
    functions = [lambda x, U: (5.5 - x[:, 0]).log(), lambda x, U: (12 - x[:, 0]).log()]
    narrow = means(gaussian(1), functions, 5.0)
    assert math.isinf(float(narrow.errors[0])), "mass lies where it is no number"
    assert float(narrow.errors[1]) < 1e-4
    nan = Formula(lambda x: torch.where(x[:, 0].abs() < 9, x[:, 0].square() / 2, torch.nan), 1)
    assert means(nan, [X2], 9.0).log_Z_error < 1e-12


# ---- refusals


def two_wells(sd: float) -> Potential:
    """Half of the mass in N(0, 1), half in a narrow well about (2.123, 2.123)."""

    def energy(x: torch.Tensor) -> torch.Tensor:
        wide = -0.5 * x.square().sum(dim=1)
        narrow = -0.5 * ((x - 2.123) / sd).square().sum(dim=1) - 2 * math.log(sd)
        return -torch.logaddexp(wide, narrow)

    return Formula(energy, 2)


@pytest.mark.parametrize(
    ("potential", "half", "points", "message"),
    [
        (gaussian(2, 2.0), 2.0, 1024, r"about 58 % of the mass lies outside the box; .*truth\.box"),
        (gaussian(1), 2.0, 1024, r"mass lies outside the box"),
        (gaussian(2, 0.02, 0.123), 4.0, 64, r"grid of 4096 points, .* raise truth\.points"),
        (gaussian(1, 0.02, 0.123), 4.0, 64, r"grid of 64 points, .* raise truth\.points"),
        (gaussian(2, 0.003, 0.123), 4.0, 256, r"raise truth\.points"),
        (two_wells(0.05), 8.0, 64, r"raise truth\.points"),
        (two_wells(0.01), 8.0, 64, r"raise truth\.points"),
        (two_wells(0.01), 8.0, 256, r"raise truth\.points"),
        (Formula(lambda x: 10 - 10 * (-10 * x[:, 0] ** 2).exp(), 1), 2.0, 64, "does not fall off"),
        (
            Formula(lambda x: -torch.logaddexp(-(x[:, 0] ** 2) / 2, -((x[:, 0] - 11) ** 2) / 2), 1),
            7.0,
            256,
            r"about 5. % of the mass lies outside",
        ),
        (Formula(lambda x: -(x[:, 0] ** 2), 1), 2.0, 64, "does not fall off|outside the box"),
        (
            Formula(lambda x: x[:, 0].log(), 1),
            2.0,
            64,
            r"is nan at 50 % of the nodes, such as x = ",
        ),
        (Formula(lambda x: x[:, 0] * 0 + torch.inf, 1), 2.0, 64, "infinite at all nodes"),
    ],
)
def test_refusals(potential: Potential, half: float, points: int, message: str) -> None:
    with pytest.raises(UnresolvedError, match=message) as caught:
        means(potential, [X, X2], half, points)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("potential", "half", "points", "exact", "exact_log_z"),
    [
        (gaussian(2, 2.0), 16.0, 64, 4.0, log_z(2, 2.0)),
        (gaussian(2, 0.02, 0.123), 4.0, 256, 0.123**2 + 0.02**2, log_z(2, 0.02)),
        (gaussian(1, 0.02, 0.123), 4.0, 512, 0.123**2 + 0.02**2, log_z(1, 0.02)),
        (two_wells(0.05), 8.0, 256, 0.5 * (1 + 2.123**2 + 0.05**2), log_z(2) + math.log(2)),
    ],
)
def test_nearly_the_same_is_accepted(
    potential: Potential, half: float, points: int, exact: float, exact_log_z: float
) -> None:
    found = means(potential, [X2], half, points)
    assert abs(float(found.means) - exact) < 4.5 * float(found.errors)
    assert abs(found.log_Z - exact_log_z) < 4.5 * found.log_Z_error
    assert float(found.errors) < 0.01 * float(found.variances.sqrt())
