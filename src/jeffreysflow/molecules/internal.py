"""The chart of a molecule, from its topology, a reference structure and its force field."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from jeffreysflow.molecules.bonded import Angles, Bonds, PeriodicTorsions, RyckaertBellemans
from jeffreysflow.molecules.chart import Chart
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.geometry import dihedral
from jeffreysflow.molecules.placing import Internals, Placing
from jeffreysflow.molecules.plan import made_plan, refuse_straight, rotor_candidates
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.tree import Tree, build_tree

__all__ = ["internal_chart"]

_STIFF = 50.0
"""kJ/mol: nothing turns about a bond whose dihedral terms have such a barrier."""
_OUT_OF_PLANE = math.radians(4)
"""What three angles of an atom may lack of a whole turn."""
_ALIKE = 1e-6
"""kJ/mol, by which energies may differ when hydrogens that are alike change places."""
_LARGEST = {"bonds": 0.02, "angles": 0.2, "torsions": 0.3}
"""Of scales: nm and radian."""


def internal_chart(
    topology: Topology,
    reference: torch.Tensor,
    kT: float,
    energy: Callable[[torch.Tensor], torch.Tensor],
    force_field: ForceField | None = None,
) -> Chart:
    """Internal coordinates in units of their spread at kT (kJ/mol).

    Centres are the force field's lengths and angles where it has any, else those of the
    ``reference`` [atom, 3] (nm), from which also come offsets of dihedrals, chirality and the order
    of hydrogens. A scale is ``sqrt(kT / k)`` with k the curvature of the bonded terms along the
    coordinate, to two digits, so that all machines find the same chart.

    Parameters
    ----------
    energy : of positions [atom, 3, n], kJ/mol.

    Raises
    ------
    UserError : no tree covers the molecule.
    """
    tree = build_tree(topology)
    placing = Placing(tree)
    r = reference.double().unsqueeze(2)
    found = placing.internals(r)
    stiff = set() if force_field is None else _stiff(topology, r, force_field)
    rotors = {
        group
        for group, hydrogens in rotor_candidates(topology, tree).items()
        if _alike(r, hydrogens, energy)
    }
    torsions, angles = found.torsions[:, 0].numpy(), found.angles[:, 0].numpy()
    planar = set() if force_field is None else _planar(topology, force_field)
    plan = made_plan(topology, tree, torsions, angles, rotors, stiff, planar)
    bonds, bends = _centres(tree, found, force_field)
    refuse_straight(topology, tree, bends.numpy(), "the force field")
    chart = Chart(tree, plan, bonds, bends)
    return chart.scaled(_scales(chart, found, kT, force_field))


def _alike(
    r: torch.Tensor,
    hydrogens: tuple[int, int, int],
    energy: Callable[[torch.Tensor], torch.Tensor],
) -> bool:
    """Whether the energy is the same when hydrogens change places."""
    turned = r.clone()
    turned[list(hydrogens)] = r[[hydrogens[1], hydrogens[2], hydrogens[0]]]
    swapped = r.clone()
    swapped[list(hydrogens)] = r[[hydrogens[1], hydrogens[0], hydrogens[2]]]
    with torch.no_grad():
        energies = energy(torch.cat([r, turned, swapped], dim=2))
    return float(energies.max() - energies.min()) < _ALIKE * max(1.0, float(energies[0].abs()))


def _stiff(topology: Topology, r: torch.Tensor, field: ForceField) -> set[frozenset[int]]:
    """Bonds whose dihedral terms, when one side turns about them, rise by ``_STIFF`` or more."""
    bonds = {frozenset(pair) for pair in topology.bonds}
    turn = torch.linspace(0, 2 * math.pi, 181, dtype=torch.float64)
    profiles: dict[frozenset[int], torch.Tensor] = {}
    for term in field.bonded:
        if not isinstance(term, PeriodicTorsions | RyckaertBellemans):
            continue
        at = [r.index_select(0, atoms) for atoms in term.atoms]
        phi = dihedral(at[1] - at[0], at[2] - at[1], at[3] - at[2])
        groups, waves = term.waves(phi + turn)
        for atoms, wave in zip(groups.tolist(), waves, strict=True):
            # of impropers the atoms are no chain
            if all(frozenset(pair) in bonds for pair in pairwise(atoms)):
                axis = frozenset(atoms[1:3])
                profiles[axis] = profiles.get(axis, torch.zeros_like(turn)) + wave
    return {axis for axis, wave in profiles.items() if float(wave.max() - wave.min()) > _STIFF}


def _planar(topology: Topology, field: ForceField) -> set[int]:
    """Atoms with three neighbours whose angles by the force field make a whole turn."""
    sums: dict[int, list[float]] = {}
    for term in field.bonded:
        if isinstance(term, Angles):
            for (_, centre, _), theta in zip(
                term.atoms.T.tolist(), term.theta[:, 0].tolist(), strict=True
            ):
                sums.setdefault(centre, []).append(theta)
    return {
        centre
        for centre, angles in sums.items()
        if len(topology.neighbours[centre]) == len(angles) == 3
        and sum(angles) > 2 * math.pi - _OUT_OF_PLANE
    }


def _centres(
    tree: Tree, found: Internals, force_field: ForceField | None
) -> tuple[torch.Tensor, torch.Tensor]:
    lengths: dict[tuple[int, ...], float] = {}
    for term in () if force_field is None else force_field.bonded:
        if isinstance(term, Bonds | Angles):
            values = term.length if isinstance(term, Bonds) else term.theta
            for atoms, value in zip(term.atoms.T.tolist(), values[:, 0].tolist(), strict=True):
                lengths[min(tuple(atoms), tuple(reversed(atoms)))] = value
    first, second, third = tree.root
    pairs = [(first, second), (second, third), *((s.atom, s.parent) for s in tree.sites)]
    triples = [(first, second, third), *((s.atom, s.parent, s.grand) for s in tree.sites)]
    bonds, angles = found.bonds[:, 0].clone(), found.angles[:, 0].clone()
    for values, groups in ((bonds, pairs), (angles, triples)):
        for row, atoms in enumerate(groups):
            values[row] = lengths.get(min(atoms, atoms[::-1]), round(float(values[row]), 4))
    return bonds, angles


def _scales(
    chart: Chart, found: Internals, kT: float, force_field: ForceField | None
) -> torch.Tensor:
    limits = [_LARGEST[name] for name, part in found._asdict().items() for _ in part]
    scales = torch.tensor(limits, dtype=torch.float64)
    steps = 1e-3 * scales
    if force_field is not None:
        bonded = ForceField(force_field.atoms, force_field.bonded, [])
        at = torch.zeros(chart.dimension, dtype=torch.float64)
        free = [chart.bonds + chart.angles + site for site in chart.plan.free]
        at[free] = found.torsions[list(chart.plan.free), 0]
        rows = torch.cat([at[None], at + torch.diag(steps), at - torch.diag(steps)])
        with torch.no_grad():
            E = torch.cat([bonded(chart.positions(part)) for part in torch.split(rows, 512)])
        up, down = E[1:].chunk(2)
        curvature = (up + down - 2 * E[0]) / steps.square()
        spread = (kT / curvature.clamp(min=1e-9)).sqrt()
        scales = torch.minimum(spread, scales)
    for rotor in chart.plan.rotors:
        for _, c, s in chart._rotor_columns(rotor.sites):
            scales[[c, s]] = scales[[c, s]].mean()
    return torch.tensor([_two_digits(value) for value in scales.tolist()], dtype=torch.float64)


def _two_digits(value: float) -> float:
    return round(value, 1 - math.floor(math.log10(value)))
