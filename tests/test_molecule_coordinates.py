"""Internal coordinates: round trips, the determinant, symmetry, and what no tree covers."""

import math
from dataclasses import replace

import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.launch.molecule import _atom
from jeffreysflow.molecules.bonded import Angles, PeriodicTorsions, RyckaertBellemans
from jeffreysflow.molecules.cartesian import Cartesian
from jeffreysflow.molecules.chart import Chart
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.internal import internal_chart
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.nonbonded import Nonbonded
from jeffreysflow.molecules.placing import log_volume
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.counted import Counted
from jeffreysflow.streams import Stream
from molecule_cases import (
    CHIRAL,
    KT,
    WATER,
    alike,
    chiral_chart,
    harmonic_water,
    reference_of,
    samples_of,
)

CHART = chiral_chart()
FIRST = CHART.bonds + CHART.angles
"""The column of the first dihedral."""


def turned(r: torch.Tensor, angle: float = 0.7) -> torch.Tensor:
    """Positions rotated about two axes, and moved."""
    c, s = math.cos(angle), math.sin(angle)
    one = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]], dtype=torch.float64)
    two = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)
    return torch.einsum("ij,ajn->ain", one @ two, r) + 1.5


def test_there_and_back() -> None:
    x = samples_of(CHART, 200)
    frames = CHART.coordinates(turned(CHART.positions(x)))
    assert bool(frames.kept.all())
    assert not frames.dropped
    assert float(((frames.x - x) * CHART.scale).abs().max()) < 1e-12
    r = CHART.positions(x)
    again = CHART.positions(CHART.coordinates(r).x)
    assert float((again - r).abs().max()) < 1e-12


def determinant(chart: Chart, x: torch.Tensor) -> float:
    """By automatic differentiation in all 3 N coordinates, rotation and translation last."""

    def all_of_it(y: torch.Tensor) -> torch.Tensor:
        r = chart.positions(y[None, : chart.dimension])[:, :, 0]
        w, zero = y[chart.dimension : -3], y.new_zeros(())
        rows = [[zero, -w[2], w[1]], [w[2], zero, -w[0]], [-w[1], w[0], zero]]
        turn = torch.linalg.matrix_exp(torch.stack([torch.stack(row) for row in rows]))
        return (r @ turn.T + y[-3:]).flatten()

    jacobian = torch.autograd.functional.jacobian(all_of_it, torch.cat([x, x.new_zeros(6)]))
    return float(torch.linalg.slogdet(jacobian)[1])


def test_the_determinant_is_that_of_autograd() -> None:
    x = samples_of(CHART, 4, spread=0.8)
    expected = [determinant(CHART, row) for row in x]
    assert CHART.log_det(x).tolist() == pytest.approx(expected, abs=1e-8)
    # the control: without the sines of angles
    bonds = 2 * CHART.internals(x).bonds.log().sum(dim=0)
    sines = log_volume(CHART.internals(x)) - bonds
    off = CHART.log_det(x) - sines - torch.tensor(expected)
    assert float(off.abs().min()) > 1e-3


def test_a_third_of_a_turn_of_like_hydrogens_changes_nothing_else() -> None:
    (rotor,) = CHART.plan.rotors
    tau = FIRST + rotor.sites[0]
    assert CHART.domain.periods[tau] == pytest.approx((-math.pi / 3, math.pi / 3))
    x = samples_of(CHART, 20)
    there, back = x.clone(), x.clone()
    there[:, tau], back[:, tau] = -math.pi / 3, math.pi / 3
    sites = [CHART.tree.sites[site].atom for site in rotor.sites]
    one, two = CHART.positions(there), CHART.positions(back)
    assert float((one[sites] - two[[sites[2], sites[0], sites[1]]]).abs().max()) < 1e-12
    rest = [atom for atom in range(CHIRAL.atoms) if atom not in sites]
    assert float((one[rest] - two[rest]).abs().max()) < 1e-12
    # and frames whose hydrogens have changed places that way are the same coordinates
    shifted = one.clone()
    shifted[sites] = one[[sites[1], sites[2], sites[0]]]
    first, second = CHART.coordinates(one).x, CHART.coordinates(shifted).x
    apart = (first - second).abs()
    apart[:, tau] = torch.minimum(apart[:, tau], 2 * math.pi / 3 - apart[:, tau])
    assert float(apart.max()) < 1e-10


def test_mirror_images_and_hydrogens_that_changed_places_are_counted() -> None:
    r = CHART.positions(samples_of(CHART, 30))
    assert CHART.coordinates(-r).dropped == {"mirrored": 30}
    swapped = r.clone()
    swapped[[8, 9]] = r[[9, 8]]
    mixed = CHART.coordinates(torch.cat([r, swapped], dim=2))
    assert sum(mixed.dropped.values()) == 30
    assert mixed.kept.tolist() == [True] * 30 + [False] * 30
    of_rotor = r.clone()
    of_rotor[[1, 2]] = r[[2, 1]]
    assert CHART.coordinates(of_rotor).dropped == {"hydrogens swapped": 30}


def test_what_is_no_molecule_is_a_wall() -> None:
    field = ForceField(CHIRAL.atoms, [], [])
    molecule = Molecule(field, CHART, 300.0, CHIRAL)
    x = samples_of(CHART, 3)
    bad = x.repeat(4, 1)
    bad[0, 0] = -1e3
    bad[3, CHART.bonds] = 1e3
    offset = CHART.plan.offsets[0]
    bad[6, FIRST + offset.site] = 40.0
    U, gradient = molecule.energy_and_gradient(bad)
    assert U.isposinf().nonzero().flatten().tolist() == [0, 3, 6]
    assert bool(gradient.isfinite().all())
    assert molecule.measure is not None
    assert bool(molecule.measure.energy(bad).isfinite().all())


def test_units_and_other_molecules_are_refused() -> None:
    molecule = Molecule(ForceField(CHIRAL.atoms, [], []), CHART, 300.0, CHIRAL)
    r = CHART.positions(samples_of(CHART, 3))
    with pytest.raises(UserError, match=r"9\.\d+ times as long.*1 nm = 10 Angstrom"):
        molecule.coordinates(10 * r)
    with pytest.raises(UserError, match="positions of 11 atoms, for a molecule of 12"):
        molecule.coordinates(r[:11])
    assert len(molecule.coordinates(r).x) == 3
    r[4, 1, 2] = torch.nan
    with pytest.raises(UserError, match=r"of 1 of 3 frames are not finite numbers.* frame 2"):
        molecule.coordinates(r)


def test_an_angle_that_is_straight_by_the_force_field_is_refused_too() -> None:
    bent = torch.tensor([[-0.1, 0, 0], [0, 0, 0], [0.099, 0.014, 0]])
    chain = Topology(("O", "C", "O"), ((0, 1), (1, 2)))
    field = ForceField(3, [Angles([[0, 1, 2]], [math.pi], [600.0])], [])
    with pytest.raises(UserError, match=r"is 180.0 degrees by the force field: no tree.*cartesian"):
        internal_chart(chain, bent, KT, alike, field)


def test_a_straight_angle_has_a_gradient_in_cartesian_coordinates() -> None:
    straight = torch.tensor([[-0.1, 0, 0], [0, 0, 0], [0.1, 0, 0]]).double()
    chain = Topology(("O", "C", "O"), ((0, 1), (1, 2)))
    field = ForceField(3, [Angles([[0, 1, 2]], [math.pi], [600.0])], [])
    molecule = Molecule(field, Cartesian(straight, 0.01), 300.0, chain)
    U, gradient = molecule.energy_and_gradient(torch.zeros(1, 9).double())
    assert float(U) == pytest.approx(-9 * math.log(0.01))
    assert not bool(gradient.any())


def test_nothing_turns_about_a_stiff_bond_however_it_is_written() -> None:
    """``40 (1 + cos(2 phi - pi))`` as it is, and as a polynomial of the cosine."""
    atoms = [[0, 4, 7, 10]]
    for term in (
        PeriodicTorsions(atoms, [2], [math.pi], [40.0]),
        RyckaertBellemans(atoms, [[80.0, 0, -80.0, 0, 0, 0]]),
    ):
        field = ForceField(CHIRAL.atoms, [term], [])
        chart = internal_chart(CHIRAL, reference_of(CHIRAL), KT, alike, field)
        kinds = [offset.kind for offset in chart.plan.offsets]
        assert "turned about a stiff bond" in kinds
    weak = ForceField(CHIRAL.atoms, [RyckaertBellemans(atoms, [[8.0, 0, -8.0, 0, 0, 0]])], [])
    plan = internal_chart(CHIRAL, reference_of(CHIRAL), KT, alike, weak).plan
    assert "turned about a stiff bond" not in [offset.kind for offset in plan.offsets]


def test_hydrogens_that_are_not_alike_are_no_rotor() -> None:
    charges = torch.zeros(CHIRAL.atoms)
    charges[1] = 0.1
    charges[10] = -0.3
    pairs = Nonbonded(charges.tolist(), [0.1] * 12, [0.0] * 12, {})
    field = ForceField(CHIRAL.atoms, [], [pairs])
    chart = internal_chart(CHIRAL, reference_of(CHIRAL), KT, field, field)
    assert not chart.plan.rotors
    assert len(CHART.plan.rotors) == 1


@pytest.mark.parametrize(
    ("topology", "reference", "match"),
    [
        (Topology(("H", "H"), ((0, 1),)), torch.rand(2, 3), "at least 3 atoms, found 2"),
        (
            Topology(("H", "O", "H", "Ar"), ((0, 1), (1, 2))),
            torch.rand(4, 3),
            r"do not lead from H of MOL 1 \(atom 1\) to Ar of MOL 1 \(atom 4\)",
        ),
        (
            Topology(("O", "C", "O"), ((0, 1), (1, 2))),
            torch.tensor([[-0.1, 0, 0], [0, 0, 0], [0.1, 0, 0]]),
            r"is 180.0 degrees by the reference structure: no tree.*cartesian",
        ),
    ],
)
def test_what_no_tree_covers(topology: Topology, reference: torch.Tensor, match: str) -> None:
    with pytest.raises(UserError, match=match):
        internal_chart(topology, reference, KT, alike)


def test_rings_are_cut_open() -> None:
    angle = 2 * math.pi * torch.arange(6) / 6
    r = 0.14 * torch.stack([angle.cos(), angle.sin(), 0.2 * (-1.0) ** torch.arange(6)], dim=1)
    ring = Topology(("C",) * 6, tuple((i, (i + 1) % 6) for i in range(6)))
    chart = internal_chart(ring, r, KT, alike)
    assert not chart.domain.periodic.any()
    x = samples_of(chart, 10, spread=0.2)
    frames = chart.coordinates(turned(chart.positions(x)))
    assert float((frames.x - x).abs().max()) < 1e-9


@pytest.mark.parametrize("elements", ["HOH", "PPPP", "OOO", "CCCH", "HCC"])
def test_where_all_atoms_are_bonded_there_is_a_tree(elements: str) -> None:
    """Water with a bond between its hydrogens, as topologies of Amber list it; white phosphorus."""
    n = len(elements)
    bonds = tuple((i, j) for i in range(n) for j in range(i))
    corners = [[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]
    r = 0.05 * torch.tensor(corners[:n]).double()
    chart = internal_chart(Topology(tuple(elements), bonds), r, KT, alike)
    x = samples_of(chart, 10, spread=0.2)
    frames = chart.coordinates(turned(chart.positions(x)))
    assert float((frames.x - x).abs().max()) < 1e-9


def test_cartesian_coordinates_hold_the_centroid() -> None:
    field, reference = harmonic_water()
    molecule = Molecule(field, Cartesian(reference, 0.01), 300.0, WATER)
    x = samples_of(molecule.chart, 5)
    moved = (x.reshape(5, 3, 3) + torch.tensor([0.3, 0.0, -0.2])).flatten(1)
    shift = molecule.energy(moved) - molecule.energy(x)
    before, after = (y.reshape(5, 3, 3).mean(dim=1).square().sum(dim=1) for y in (x, moved))
    assert shift.tolist() == pytest.approx((1.5 * (after - before)).tolist(), abs=1e-9)
    frames = molecule.coordinates(molecule.positions(x) + 2.0)
    assert molecule.positions(frames.x).mean(dim=0).abs().max() < 1e-12
    # of frames the centroid is not known, and is drawn: <c^2> = 1/N, in all shapes alike
    assert molecule.place is not None
    many = frames.x[:1].expand(20_000, -1)
    placed = molecule.place(many, Stream(1, "centroids"))
    c = placed.reshape(-1, 3, 3).mean(dim=1)
    z = (3 * c.square() - 1).mean(dim=0) / math.sqrt(2 / len(c))
    assert float(z.abs().max()) < 4.5
    assert float((c.mean(dim=0) * math.sqrt(3 * len(c))).abs().max()) < 4.5
    shape = (placed.reshape(-1, 3, 3) - c.unsqueeze(1)).flatten(1)
    assert float((shape - many).abs().max()) < 1e-12
    assert molecule.coordinates(molecule.positions(placed)).x[7].tolist() == pytest.approx(
        many[7].tolist(), abs=1e-12
    )


def test_temperature_scales_the_energy_alone_also_where_evaluations_are_counted() -> None:
    """Not the determinant of the coordinates; were it scaled, log Z of a hot level would be off."""
    field, reference = harmonic_water()
    chart = internal_chart(WATER, reference, KT, field, field)
    molecule = Molecule(field, chart, 300.0, WATER)
    x, lam = samples_of(chart, 20), 0.25
    E, log_det = field(chart.positions(x)) / molecule.unit, chart.log_det(x)
    for target in (molecule, Counted(molecule)):
        U = AnnealingPath(None, target).energy(x, lam)
        assert float((U - (lam * E - log_det)).abs().max()) < 1e-9
        assert float((U - lam * (E - log_det)).abs().max()) > 1


def test_a_single_atom_has_no_size_to_compare() -> None:
    atom = Molecule(
        ForceField(1, [], []), Cartesian(torch.zeros(1, 3), 0.01), 300.0, Topology(("Ar",), ())
    )
    assert len(atom.coordinates(torch.rand(1, 3, 4).double()).x) == 4


def backbone(bonds: int) -> Topology:
    """N, CA and C of two residues, the first so many of their bonds."""
    return Topology(
        elements=tuple("NCCNCC"),
        bonds=tuple((i, i + 1) for i in range(5))[:bonds],
        names=("N", "CA", "C") * 2,
        residues=(("GLY", 1),) * 3 + (("GLY", 2),) * 3,
    )


def test_backbone_torsions_are_of_atoms_that_are_bonded() -> None:
    found = {"phi": (2, 3, 4, 5), "psi": (0, 1, 2, 3), "omega": (1, 2, 3, 4)}
    assert backbone(5).backbone_torsions() == found
    # two chains, whose residues are numbered on
    chains = replace(backbone(5), bonds=((0, 1), (1, 2), (3, 4), (4, 5)))
    assert chains.backbone_torsions() == {}


def test_an_atom_that_is_named_is_the_only_one_of_its_name() -> None:
    alike = replace(backbone(5), names=tuple("NCCNCC"))
    assert alike.named(1, "C") == (1, 2)
    assert alike.find(1, "C") is None
    assert alike.find(1, "N") == 0
    with pytest.raises(UserError, match=r"distances\.ends: 2 atoms are named '2:C'.*from 1: 5, 6$"):
        _atom("2:C", "distances.ends", alike)
    assert [_atom(text, "distances.ends", alike) for text in ("1:N", "6")] == [0, 5]
