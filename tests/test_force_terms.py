"""Each term of a force field against its closed form, without OpenMM."""

import math

import numpy as np
import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.bonded import Angles, Bonds, Maps, PeriodicTorsions, RyckaertBellemans
from jeffreysflow.molecules.born import ExpressionBorn, Obc, Part
from jeffreysflow.molecules.expressions import Expression
from jeffreysflow.molecules.force_field import CONTACT, ForceField
from jeffreysflow.molecules.nonbonded import COULOMB, Nonbonded
from jeffreysflow.molecules.screening import OVERLAP, STILL, overlap, still


def chain(*torsions: float, bend: float = 1.2) -> torch.Tensor:
    """Four atoms [4, 3, n] at unit bonds, angles of ``bend`` and the given dihedrals."""
    places = []
    for phi in torsions:
        out = torch.tensor([math.cos(math.pi - bend), math.sin(math.pi - bend)])
        first = torch.tensor([-out[0], out[1], 0.0])
        last = torch.tensor([1 + out[0], out[1] * math.cos(phi), out[1] * math.sin(phi)])
        places.append(torch.stack([first, torch.zeros(3), torch.tensor([1.0, 0, 0]), last]))
    return torch.stack(places, dim=2).double()


TURNS = (-3.0, -1.0, 0.2, 1.5, 3.1)


def pair(distance: float) -> torch.Tensor:
    return torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64).unsqueeze(2)


def test_bonds_and_angles() -> None:
    r = chain(0.3)
    assert float(Bonds([(0, 1), (0, 2)], [0.9, 1.0], [50.0, 0.0])(r)) == pytest.approx(0.25)
    assert float(Angles([(0, 1, 2)], [1.0], [8.0])(r)) == pytest.approx(4.0 * 0.2**2, rel=1e-6)


@pytest.mark.parametrize(("m", "phase"), [(1, 0.0), (2, math.pi), (3, 0.7)])
def test_torsions_have_their_phase(m: int, phase: float) -> None:
    term = PeriodicTorsions([(0, 1, 2, 3)], [m], [phase], [2.5])
    expected = [2.5 * (1 + math.cos(m * phi - phase)) for phi in TURNS]
    assert term(chain(*TURNS)).tolist() == pytest.approx(expected, abs=1e-6)
    # in degrees it is another energy
    wrong = PeriodicTorsions([(0, 1, 2, 3)], [m], [math.degrees(phase or 1.0)], [2.5])
    assert wrong(chain(*TURNS)).tolist() != pytest.approx(expected, abs=1e-2)


def test_ryckaert_bellemans() -> None:
    c = [1.0, -2.0, 0.5, 0.3, -0.2, 0.1]
    expected = [sum(ck * math.cos(phi - math.pi) ** k for k, ck in enumerate(c)) for phi in TURNS]
    term = RyckaertBellemans([(0, 1, 2, 3)], [c])
    assert term(chain(*TURNS)).tolist() == pytest.approx(expected, abs=1e-6)


def test_maps_are_known_at_grid_points_and_smooth_between() -> None:
    angle = 2 * math.pi * np.arange(24) / 24
    grid = np.cos(angle)[:, None] + 0.5 * np.sin(2 * angle)[None, :]
    term = Maps([(0, 1, 2, 3, 0, 1, 2, 3)], [0], [grid])
    turns = (*angle[[3, 13, 23]], *TURNS)
    expected = [math.cos(phi) + 0.5 * math.sin(2 * phi) for phi in turns]
    values = term(chain(*turns))
    assert values[:3].tolist() == pytest.approx(expected[:3], abs=1e-6)
    assert values.tolist() == pytest.approx(expected, abs=2e-3)
    # along a diagonal a product of both, whose mixed derivative is not 0
    product = np.cos(angle)[:, None] * np.sin(angle)[None, :]
    values = Maps([(0, 1, 2, 3, 0, 1, 2, 3)], [0], [product])(chain(*turns))
    expected = [math.cos(phi) * math.sin(phi) for phi in turns]
    assert values.tolist() == pytest.approx(expected, abs=2e-3)


def test_pairs_and_their_exceptions() -> None:
    parameters = ([0.3, -0.4], [0.2, 0.3], [0.5, 0.2])
    whole = ForceField(2, [], [Nonbonded(*parameters, {})])
    r, sigma, epsilon = 0.31, 0.25, math.sqrt(0.1)
    expected = COULOMB * -0.12 / r + 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)
    assert float(whole(pair(r))) == pytest.approx(expected, rel=1e-12)
    assert pytest.approx(138.9354576, abs=1e-6) == COULOMB
    scaled = ForceField(2, [], [Nonbonded(*parameters, {(1, 0): (-0.06, 0.2, 0.0)})])
    assert float(scaled(pair(r))) == pytest.approx(COULOMB * -0.06 / r, rel=1e-12)
    none = ForceField(2, [], [Nonbonded(*parameters, {(0, 1): (0.0, 0.2, 0.0)})])
    assert float(none(pair(0.5 * CONTACT))) == 0.0


def test_a_clash_is_a_wall_with_a_finite_gradient() -> None:
    field = ForceField(2, [], [Nonbonded([0.3, -0.4], [0.2, 0.3], [0.5, 0.2], {})])
    for dtype in (torch.float64, torch.float32):
        r = torch.cat([pair(0.5 * CONTACT), pair(0.0), pair(0.3)], dim=2).to(dtype)
        energy = field(r.requires_grad_())
        assert energy.isposinf().tolist() == [True, True, False]
        (gradient,) = torch.autograd.grad(energy.sum(), r)
        assert bool(gradient.isfinite().all())


def test_a_lone_ion_has_its_born_energy() -> None:
    charge, radius = 0.8, 0.17
    field = ForceField(2, [], [Obc([charge, 0], [radius, 0.1], [0.8, 0.8], 78.5, 1.0, 0.0)])
    expected = -0.5 * COULOMB * (1 - 1 / 78.5) * charge**2 / (radius - 0.009)
    # the other one is far away and has no charge
    assert float(field(pair(1e4))) == pytest.approx(expected, rel=1e-10)


def test_ions_far_apart_are_screened() -> None:
    field = ForceField(2, [], [Obc([1, 1], [0.17] * 2, [0.8] * 2, 78.5, 1.0, 0.0)])
    alone = 2 * -0.5 * COULOMB * (1 - 1 / 78.5) / (0.17 - 0.009)
    r = 2e3
    assert float(field(pair(r))) - alone == pytest.approx(
        -COULOMB * (1 - 1 / 78.5) / r, rel=1e-3, abs=1e-7
    )


def test_expressions() -> None:
    r = torch.tensor([0.5, 2.0], dtype=torch.float64)
    value = Expression("select(step(r - 1), -r^2, or*max(a, r)); a = 2*b; b = 3e-1 + 0")
    assert value.names == {"r", "or"}
    assert value({"r": r, "or": 2.0}).tolist() == pytest.approx([1.2, -4.0])
    with pytest.raises(UserError, match=r"unknown function 'erf'.*allowed: abs"):
        Expression("erf(r)")
    with pytest.raises(UserError, match="cannot be read"):
        Expression("r.__class__")
    with pytest.raises(UserError, match=r"uses 'kappa', which is no parameter"):
        ExpressionBorn({"q": [1.0]}, {}, [], [Part("", "kappa*q^2", "single")], {})


def test_the_short_forms_are_those_they_stand_for() -> None:
    r = torch.tensor([[0.03, 0.05, 0.09, 0.2, 0.6]], dtype=torch.float64, requires_grad=True)
    radius, scaled = torch.tensor([[0.12]]).double(), torch.tensor([[0.1]]).double()
    given = {"r": r, "or1": radius, "sr2": scaled}
    long = Expression(f"{OVERLAP}; U=r+sr2; L=max(or1, D); D=abs(r-sr2)")(given)
    assert overlap(r, radius, scaled).tolist()[0] == pytest.approx(long.tolist()[0], abs=1e-12)
    product = torch.tensor([[0.01]], dtype=torch.float64, requires_grad=True)
    b = torch.full_like(r, 0.01, requires_grad=True)
    long = Expression(STILL)({"r": r, "B1": product, "B2": 1.0})
    assert still(r, b).tolist()[0] == pytest.approx(long.tolist()[0], abs=1e-12)
    # slopes, and slopes of slopes
    assert torch.autograd.gradcheck(lambda r: overlap(r, radius, scaled), (r,))
    assert torch.autograd.gradgradcheck(lambda r: overlap(r, radius, scaled), (r,))
    assert torch.autograd.gradcheck(still, (r, b))
    assert torch.autograd.gradgradcheck(still, (r, b))
