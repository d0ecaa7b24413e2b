"""Observable expressions: what they mean, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.observables import (
    observable_values,
    parse_observable,
    parse_observables,
)
from jeffreysflow.potentials.potential import OfEnergy

X = torch.tensor([[0.3, -0.7], [1.2, 0.4], [-2.0, 3.0]], dtype=torch.float64)
U = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
X1, X2 = X.T


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sin(x1)", X1.sin()),
        ("cos(2*x2)", (2 * X2).cos()),
        ("sin(2*x1)*sin(2*x2)", (2 * X1).sin() * (2 * X2).sin()),
        (" x1 < 0", (X1 < 0).double()),
        ("-1 < x1 <= 1.2", ((X1 > -1) & (X1 <= 1.2)).double()),
        ("(x1 > 0) * x2 / 2 - pi", (X1 > 0) * X2 / 2 - torch.pi),
        ("U", U),
        ("abs(x1)**1.5 + tanh(x2) + atan(U)", X1.abs() ** 1.5 + X2.tanh() + U.atan()),
        ("sqrt(exp(x1)) * log(x1**2) * tan(+x2)", (X1 / 2).exp() * (X1**2).log() * X2.tan()),
        ("-x1**2", -(X1**2)),
        ("2", torch.full((3,), 2.0, dtype=torch.float64)),
    ],
)
def test_meaning(text: str, expected: torch.Tensor) -> None:
    (observable,) = parse_observables([text], 2)
    assert observable.name == text
    value = observable(X, U)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)


def test_float32_samples_are_evaluated_and_returned_as_numbers() -> None:
    (observable,) = parse_observables(["sin(x1) + 0.5"], 2)
    assert observable(X.float(), U).dtype == torch.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sni(x1)", r"unknown function 'sni'; allowed: .*did you mean 'sin'\? \(position 1\)"),
        ("cos(x3)", r"no coordinate 'x3', the last is 'x2' \(position 5\)"),
        ("x1 + pie", r"unknown name 'pie'; allowed: .* \(position 6\)"),
        ("  y", r"unknown name 'y'.*position 3"),
        ("x1 ^ 2", r"'\^' is not a power, write '\*\*' \(position 1\)"),
        ("sin(x1, x2)", r"'sin' takes one argument \(position 1\)"),
        ("sin(", r"not an expression at position"),
        ("", r"not an expression"),
        ("x1.real", r"'x1.real' is not allowed here; allowed: .*position 1"),
        ("__import__('os')", r"unknown function '__import__'"),
        ("sin(x1)(x2)", r"not allowed here"),
        ("x1 if x2 else U", r"not allowed here"),
        ("x1 and x2", r"not allowed here"),
        ("'x1'", r"not allowed here"),
        ("True", r"not allowed here"),
        ("x1 in x2", r"not allowed here"),
        ("sin", r"'sin' is a function, such as 'sin\(x1\)' \(position 1\)"),
        ("x0", r"unknown name 'x0'"),
    ],
)
def test_bad_expressions(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_observables([text], 2)
    assert "\n" not in str(caught.value)


def test_named_observables_come_first() -> None:
    named = {"radius": lambda x: x.norm(dim=1), "x1": lambda x: 0 * x[:, 0]}
    observables = parse_observables(["radius", "x1", "x2"], 2, named)
    values = observable_values(observables, X, U)
    torch.testing.assert_close(values, torch.stack([X.norm(dim=1), 0 * X1, X2], dim=1))
    with pytest.raises(UserError, match="did you mean 'radius'"):
        parse_observables(["radios"], 2, named)
    assert observable_values([], X, U).shape == (3, 0)


def test_a_named_observable_may_follow_from_the_energy() -> None:
    named = {"heat": OfEnergy(lambda x, U: U - x[:, 0]), "radius": lambda x: x.norm(dim=1)}
    texts = ["heat", "2 * heat", "radius", "radius < 1", "heat < 0"]
    parsed = parse_observables(texts, 2, named)
    assert [each.uses_energy for each in parsed] == [True, True, False, False, True]
    values = observable_values(parsed[:2], X, U)
    torch.testing.assert_close(values, torch.stack([U - X1, 2 * (U - X1)], dim=1))


def test_values_that_are_no_numbers_are_named() -> None:
    (observable,) = parse_observables(["log(x2)"], 2)
    with pytest.raises(UserError, match=r"'log\(x2\)' is not finite at x = \[0.3, -0.7\]"):
        observable(X, U)
    (wrong,) = parse_observables(["both"], 2, {"both": lambda x: x})
    with pytest.raises(UserError, match=r"'both' must have shape \[3\].*found \[3, 2\]"):
        wrong(X, U)
    (number,) = parse_observables(["one"], 2, {"one": lambda x: 1.0})
    with pytest.raises(UserError, match="found float"):
        number(X, U)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("x1 < 0", True),
        ("-1 < x1 <= 1.2", True),
        ("(x1 > 0) * (x2 > 0)", True),
        ("+((x1 > 0) * (x2 > 0) * (U < 1))", True),
        ("1 - (x1 < 0) * (x2 < 0)", True),
        ("x1", False),
        ("sin(x1) * x2 - 1", False),
        ("2", False),
        ("(x1 > 0) * x2", None),
        ("(x1 < -1) + (x1 > 1)", None),
        ("2 * (x1 < -1)", None),
        ("-(x1 < 0)", None),
        ("2 - (x1 < 0)", None),
    ],
)
def test_events_are_known_by_their_expression(text: str, event: bool | None) -> None:
    assert parse_observable(text, 2).is_event is event
    if event:
        assert set(parse_observable(text, 2)(X, U).tolist()) <= {0.0, 1.0}


def test_of_a_users_function_only_values_tell() -> None:
    assert parse_observable("inside", 2, {"inside": lambda x: x[:, 0] > 0}).is_event is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x1 > 0 and 1 < 2", [1, 0, 1]),
        ("2 < 1 or x1 > 0", [1, 0, 1]),
        ("1 < 2 and 2 < 3", [1, 1, 1]),
        # what is not defined does not matter where the rest decides
        ("x1 > 0 and sqrt(x1) < 1", [1, 0, 0]),
        ("x1 <= 0 or sqrt(x1) < 1", [1, 1, 0]),
        ("inside + inside", [2, 0, 2]),
        ("1 - inside", [0, 1, 0]),
        ("-inside", [-1, 0, -1]),
        ("whole / 2", [1.5, -5, 10]),
    ],
)
def test_truth_values_and_constants_are_numbers(text: str, expected: list[float]) -> None:
    x = torch.tensor([[0.3, -0.7], [-1.0, 2.0], [2.0, 0.1]])
    named = {"inside": lambda x: x[:, 0] > 0, "whole": lambda x: (10 * x[:, 0]).round().long()}
    observable = parse_observable(text, 2, named)
    assert observable(x, torch.zeros(3)).tolist() == expected


@pytest.mark.parametrize("text", ["sqrt(x1) < 1", "not log(x1) < 0", "x2 > 0 and 0 < phi < 1"])
def test_what_is_not_defined_is_not_outside(text: str) -> None:
    x = torch.tensor([[0.3, -0.7], [-1.0, 2.0], [2.0, 0.1]])
    observable = parse_observable(text, 2, {"phi": lambda x: x[:, 0].log()})
    with pytest.raises(UserError, match=r"is not finite at x = \[-1.0, 2.0\]"):
        observable(x, torch.zeros(3))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (lambda x: 1.0, "float"),
        (lambda x: None, "NoneType"),
        (lambda x: x.sum(), r"\[\]"),
        (lambda x: x[:, :1], r"\[3, 1\]"),
        (lambda x: x[:, 0] * 1j, "complex numbers"),
    ],
)
@pytest.mark.parametrize("text", ["mine", "mine > 0", "2 * mine", "not mine > 0"])
def test_a_users_function_gives_a_number_a_sample(
    value: Callable[[torch.Tensor], torch.Tensor], found: str, text: str
) -> None:
    observable = parse_observable(text, 2, {"mine": value})
    with pytest.raises(UserError, match=rf"'mine' must have shape \[3\], .*found {found}"):
        observable(torch.zeros(3, 2), torch.zeros(3))
