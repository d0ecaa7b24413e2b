"""Energies against the values that pin their definitions; bases; the annealing path."""

import math
from pathlib import Path

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, get_potential, potential_names
from jeffreysflow.potentials.checks import check_potential
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.streams import Stream

AT = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
CHECK = {
    "three_well": 0.590978,
    "himmelblau": 34.671240,
    "annulus": 19.818281,
    "multi_well": -0.690017,
}


@pytest.mark.parametrize(("name", "value"), CHECK.items())
def test_energy_at_the_check_point(name: str, value: float) -> None:
    assert float(get_potential(name).energy(AT)) == pytest.approx(value, abs=1e-6)


# particles of a cluster that overlap have an energy too steep for differences
SPREAD = {"lennard_jones_13": 3.0}


@pytest.mark.parametrize("name", potential_names())
def test_gradient_against_central_differences(name: str) -> None:
    potential = get_potential(name)
    x = SPREAD.get(name, 1.0) * Stream(1, name).normal(20, potential.dimension)
    energy, gradient = potential.energy_and_gradient(x)
    assert torch.equal(energy, potential.energy(x))
    for i in range(potential.dimension):
        step = torch.zeros(potential.dimension, dtype=torch.float64)
        step[i] = 1e-5
        difference = (potential.energy(x + step) - potential.energy(x - step)) / 2e-5
        torch.testing.assert_close(gradient[:, i], difference, rtol=1e-5, atol=1e-5)


def test_unknown_potential_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'three_well'"):
        get_potential("threewell")


MIXED = Domain((None, (-math.pi, math.pi), None, (0.0, 1.0)))


def test_base_is_normalised_and_sampled_from_its_own_density() -> None:
    base = Base(MIXED, mean=[1.0, 0.0, -2.0, 0.0], sd=[0.5, 1.0, 2.0, 1.0])
    n = 100_000
    x = base.sample(n, Stream(1, "base"))
    # E[exp(U_0) q(x)] = 1 under the base for any normalised q; here q is a wider base
    wider = Base(MIXED, mean=[1.0, 0.0, -2.0, 0.0], sd=[0.6, 1.0, 2.2, 1.0])
    ratio = torch.exp(base.energy(x) - wider.energy(x))
    assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / math.sqrt(n)
    assert torch.all((x[:, 1] >= -math.pi) & (x[:, 1] < math.pi))
    z = (x[:, 2] + 2) / 2
    assert abs(float(z.mean())) < 4.5 / math.sqrt(n)
    assert abs(float(z.square().mean()) - 1) < 4.5 * math.sqrt(2 / n)


def test_base_gradient_and_quantile() -> None:
    base = Base(MIXED, mean=1.0, sd=2.0)
    x = base.sample(50, Stream(2, "base"))
    _, by_hand = base.energy_and_gradient(x)
    y = x.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(base.energy(y).sum(), y)
    torch.testing.assert_close(by_hand, automatic)
    middle = base.quantile(torch.full((1, 4), 0.5, dtype=torch.float64))
    torch.testing.assert_close(middle, torch.tensor([[1.0, 0.0, 1.0, 0.5]]).double())


def test_annealing_path_interpolates_energies_and_gradients() -> None:
    target = get_potential("multi_well")
    path = AnnealingPath(Base(target.domain, sd=2.2), target)
    x = Stream(3, "path").normal(30, 2)
    point = path.evaluate(x)
    assert path.base is not None
    torch.testing.assert_close(point.energy(torch.tensor(0.0)), path.base.energy(x))
    torch.testing.assert_close(point.energy(torch.tensor(1.0)), target.energy(x))
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(path.energy(y, 0.3).sum(), y)
    torch.testing.assert_close(point.gradient(torch.tensor(0.3)), gradient)


def test_power_path_has_no_base() -> None:
    target = get_potential("three_well")
    x = Stream(4, "path").normal(5, 2)
    point = AnnealingPath(None, target).evaluate(x)
    assert not point.U_0.any()
    torch.testing.assert_close(point.energy(torch.tensor(0.2)), 0.2 * target.energy(x))


GOOD = "dimension = 2\ndef energy(x):\n    return x.square().sum(-1)\n"
BAD = {
    "raises": ("def energy(x):\n    return x @ 'oops'\n", "energy.x. raised"),
    "shape": ("def energy(x):\n    return x.square()\n", r"must have shape \[7\].*found \[7, 2\]"),
    "nan": ("def energy(x):\n    return x.log().sum(-1)\n", "not finite at x = "),
    "no gradient": ("def energy(x):\n    return x.detach().sum(-1)\n", "has no gradient"),
    "a number": ("def energy(x):\n    return 1.0\n", "found float"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_energy_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    body, message = BAD[case]
    file = tmp_path / "mine.py"
    file.write_text("dimension = 2\n" + body)
    potential = load_user_potential(file)
    with pytest.raises(UserError, match=message) as caught:
        check_potential(potential, Base(potential.domain), str(file))
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def energy(x): return x", "'dimension' must be a positive integer, found None"),
        ("dimension = 2", "'energy' must be a function"),
        ("dimension = 2\nraise RuntimeError('no')", "import failed: RuntimeError: no"),
        (GOOD + "periodic = {2: (0, 1)}", "'periodic' must map coordinates 0..1"),
        (GOOD + "periodic = {0: (0, float('inf'))}", "'periodic' must map coordinates .* finite"),
        (GOOD + "walls = {2: (0, 1)}", "'walls' must map coordinates 0..1 to .lower, upper."),
        (GOOD + "walls = {-1: (0, 1)}", "'walls' must map coordinates 0..1"),
        (GOOD + "walls = {0: (0, 10**400)}", "'walls' of coordinate 0: an end is larger than any"),
        (GOOD + "periodic = {1: (-(10**9000), 0)}", "'periodic' of coordinate 1: an end is"),
        (GOOD + "walls = {1: (1.7e9, 1.7e9 + 60)}", "coordinate 1: .*resolves nothing.* shift the"),
        (GOOD + "periodic = {0: (1e8, 1e8 + 6)}", "coordinate 0: .*resolves nothing.* shift the"),
        (GOOD + "walls = {0: (1, 1)}", "finite and lower < upper, found {0: .1, 1.}"),
        (GOOD + "walls = {0: (0, float('nan'))}", "finite and lower < upper"),
        (GOOD + "walls = {0: (0, 1, 2)}", "'walls' must map"),
        (GOOD + "walls = {'x1': (0, 1)}", "'walls' must map"),
        (GOOD + "walls = [(0, 1)]", "'walls' must map"),
        (
            GOOD + "walls = {1: (0, 1)}\nperiodic = {1: (0, 2)}",
            "coordinate 1 is both in 'periodic' and in 'walls'",
        ),
        (GOOD + "observables = [1]", "'observables' must map names to functions"),
    ],
)
def test_a_bad_file_is_refused(source: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(UserError, match=message):
        load_user_potential(file)


def test_a_good_file_is_used_with_its_domain_and_observables(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        GOOD + "periodic = {1: (0, 1)}\nobservables = {'r': lambda x: x.norm(dim=-1)}\n"
    )
    potential = load_user_potential(file)
    check_potential(potential, Base(potential.domain), "mine")
    assert potential.domain == Domain((None, (0.0, 1.0)))
    file.write_text(GOOD + "periodic = {1: (0, 1)}\nwalls = {0: (-1, 2)}\n")
    assert load_user_potential(file).domain == Domain((None, (0.0, 1.0)), ((-1.0, 2.0), None))
    assert float(potential.observables["r"](torch.tensor([[3.0, 4.0]]))) == 5.0
