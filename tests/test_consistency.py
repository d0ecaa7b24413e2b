"""An energy is a function of one sample with the gradient it says it has, or it is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Base, Potential
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.potentials.checks import check_potential
from jeffreysflow.potentials.consistency import check_consistency
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.streams import Stream

Function = Callable[[torch.Tensor], torch.Tensor]


class Plain(Potential):
    """A function as a potential."""

    def __init__(self, function: Function, domain: Domain) -> None:
        super().__init__()
        self.domain, self._function = domain, function

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._function(x)


def check(function: Function, domain: Domain | None = None, sd: float = 1.0) -> None:
    potential = Plain(function, domain or Domain.euclidean(2))
    check_potential(potential, Base(potential.domain, 0.0, sd), "mine")
    check_consistency(potential, Base(potential.domain, 0.0, sd), "mine")


def square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(dim=-1) / 2


def in_place(x: torch.Tensor) -> torch.Tensor:
    if not x.requires_grad:
        x -= 1
    return square(x)


def own_gradient(x: torch.Tensor) -> torch.Tensor:
    """A term that the graph does not know."""
    return square(x) + square(3 * x.detach())


def batch_norm(x: torch.Tensor) -> torch.Tensor:
    return square(x - 0.1 * x.mean(dim=0))


def by_mode(x: torch.Tensor) -> torch.Tensor:
    return square(x) * (1.0 if torch.is_grad_enabled() else 1.01)


class Remembers:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return square(x) + 1e-3 * self.calls


WRONG: dict[str, tuple[Function, str]] = {
    "in place": (in_place, "changes x in place"),
    "random": (lambda x: square(x + 1e-3 * torch.randn_like(x)), "called again with the same x"),
    "remembers": (Remembers(), "called again with the same x"),
    "batch": (batch_norm, "depends on the others of its batch"),
    "first row": (lambda x: square(x - x[:1].detach()), "depends on the others of its batch"),
    "sorted": (lambda x: square(x).sort().values, "depends on the others of its batch"),
    "gradients on and off": (by_mode, "other values when gradients are computed"),
    "detached": (own_gradient, "is not its slope"),
    "half detached": (lambda x: square(x) + square(x.detach()), "is not its slope"),
    "steps": (lambda x: square((3 * x).round()) + 0 * square(x), "constant in pieces"),
    "a step without a graph": (lambda x: (x[:, 0] > 0).to(x.dtype), "constant in pieces"),
    "a constant": (lambda x: torch.ones(len(x)), "it is a constant"),
    "numpy": (lambda x: torch.from_numpy(square(x.detach()).numpy()), "through torch operations"),
    "overflow": (lambda x: square(x) + (60 + x[:, 0]).exp() ** 2 / 1e52, "not finite in float32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_function_of_a_sample_is_refused(case: str) -> None:
    function, message = WRONG[case]
    with pytest.raises(UserError, match=message) as caught:
        check(function)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine: ")


def single(x: torch.Tensor) -> torch.Tensor:
    """What a network in float32 computes, with an offset."""
    weights = Stream(1).normal(2, 8).float()
    return (x.float() @ weights).tanh().sum(dim=-1) + square(x.float()) + 1000


RIGHT: dict[str, Function] = {
    "a Gaussian": square,
    "a kink": lambda x: x.abs().sum(dim=-1),
    "pieces": lambda x: torch.where(x[:, 0] > 0.3, 3 * square(x), square(x) + 0.1),
    "a jump": lambda x: square(x) + (x[:, 0] > 0.2).to(x.dtype),
    "a wall": lambda x: torch.where(x[:, 0] > -0.5, square(x), torch.inf),
    "a network in float32": single,
    "flat in places": lambda x: (square(x) - 0.5).clamp(min=0),
    "very steep": lambda x: 1e6 * square(x),
    "very shallow": lambda x: 1e-8 * square(x),
    "an offset": lambda x: square(x) + 1e5,
    "far too narrow": lambda x: 1e4 * (square(x) - 0.4) ** 2,
    "logarithms": lambda x: -torch.logaddexp(-200 * square(x - 1), -200 * square(x + 1)),
}


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("sd", [0.1, 1.0, 10.0])
def test_what_is_one_passes(case: str, sd: float) -> None:
    check(RIGHT[case], sd=sd)


@pytest.mark.parametrize(
    ("function", "periodic"),
    [
        (lambda x: x.cos().sum(-1), True),
        (lambda x: (0.5 * x[:, 0]).sin().square() + x[:, 1].cos(), True),
        # a well on the seam
        (lambda x: 20 * (x[:, 0] - math.pi).cos() + x[:, 1].cos(), True),
        (lambda x: (0.5 * x).sin().sum(-1), False),
        (square, True),
        (lambda x: x[:, 0] + x[:, 1].cos(), False),
    ],
)
def test_periodic_coordinates_close(function: Function, periodic: bool) -> None:
    if periodic:
        check(function, Domain.torus(2))
        return
    with pytest.raises(UserError, match=r"not periodic in x1: .* at -3.14159, .* at 3.14159"):
        check(function, Domain.torus(2))


# --- calling what a user wrote


def test_float64_constants_are_no_hindrance_in_float32() -> None:
    precision = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    energy = RobustFunction(lambda x: 0.5 * ((x @ precision) * x).sum(dim=-1), "mine")
    x = torch.ones(3, 2, requires_grad=True)
    values = energy(x)
    assert values.dtype == torch.float32
    values.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[2.5, 1.5]] * 3
    assert energy(torch.ones(3, 2, dtype=torch.float64)).dtype == torch.float64


def test_an_energy_that_differentiates_inside_works_without_gradients() -> None:
    def energy(x: torch.Tensor) -> torch.Tensor:
        (force,) = torch.autograd.grad(square(x).sum(), x, create_graph=True)
        return square(x) + square(force)

    function = RobustFunction(energy, "mine")
    with torch.no_grad():
        values = function(torch.ones(3, 2))
    assert values.tolist() == [2.0] * 3
    assert not values.requires_grad
    check(function)


@pytest.mark.parametrize("error", ["ValueError('below zero')", "SystemExit(0)"])
def test_what_it_raises_is_one_line_with_the_first_x(error: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "dimension = 1\ndef energy(x):\n    if (x < 0).any():\n"
        f"        raise {error}\n    return x[:, 0] ** 2\n"
    )
    potential = load_user_potential(file)
    x = torch.arange(10.0)[:, None]
    assert float(potential.energy(x).sum()) == 285
    x[6] = -3
    x[8] = -4
    with pytest.raises(
        UserError, match=r"energy\(x\) raised on x of shape \[10, 1\].*-3.0"
    ) as caught:
        potential.energy(x)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_whole_batch_has_no_x() -> None:
    function = RobustFunction(lambda x: x[:, 5], "mine")
    with pytest.raises(UserError, match="mine raised on x of shape") as caught:
        function(torch.ones(4, 2))
    assert "first at" not in str(caught.value) or "[1.0, 1.0]" in str(caught.value)
