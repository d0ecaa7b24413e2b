"""What each internal coordinate of a molecule is: free, stiff, an offset, or part of a rotor."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jeffreysflow.domain import Interval
from jeffreysflow.errors import UserError
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.tree import Tree

__all__ = ["Kind", "Offset", "Plan", "Rotor", "made_plan", "refuse_straight", "rotor_candidates"]

_PLANAR = math.radians(150)
_LINEAR = math.radians(5)

Kind = Literal["turned about a stiff bond", "mirrored", "hydrogens swapped"]
"""What a frame is that is another molecule; of several, the first is said."""


@dataclass(frozen=True)
class Rotor:
    """Three like hydrogens on one atom: their ``sites``, in the order of rising dihedrals."""

    sites: tuple[int, int, int]


@dataclass(frozen=True)
class Offset:
    """A dihedral that is not free: that of a site, counted from that of another one (``main``)
    where there is one, inside an ``interval`` around ``centre``; outside, it is another molecule
    (``kind``).
    """

    site: int
    main: int | None
    centre: float
    interval: Interval
    kind: Kind


@dataclass(frozen=True)
class Plan:
    """The dihedrals of a tree: ``free`` sites on circles, ``offsets`` and ``rotors``."""

    free: tuple[int, ...]
    offsets: tuple[Offset, ...]
    rotors: tuple[Rotor, ...]


def rotor_candidates(topology: Topology, tree: Tree) -> dict[int, tuple[int, int, int]]:
    """Groups of three hydrogens on one atom and nothing else about their axis: the hydrogens, by
    the number of the group.
    """
    found = {}
    for number, group in enumerate(tree.groups):
        atoms = [tree.sites[member].atom for member in group.members]
        hydrogens = all(
            topology.elements[atom] == "H" and len(topology.neighbours[atom]) == 1 for atom in atoms
        )
        if len(atoms) == 3 and hydrogens and not group.fixed:
            found[number] = (atoms[0], atoms[1], atoms[2])
    return found


def made_plan(
    topology: Topology,
    tree: Tree,
    torsions: np.ndarray,
    angles: np.ndarray,
    rotors: Collection[int],
    stiff: Collection[frozenset[int]],
    planar: Collection[int] = (),
) -> Plan:
    """The plan for a molecule as its reference structure has it.

    Parameters
    ----------
    torsions, angles : of the reference structure, [N - 3] and [N - 2], in the tree's order.
    rotors : the groups that are turned by 120 degrees into themselves.
    stiff : bonds that nothing turns about: an amide's, a double bond.
    planar : atoms whose three neighbours lie in a plane with them, whatever the reference shows.

    Raises
    ------
    UserError : an angle of the tree is straight, so that no dihedral is defined there.
    """
    refuse_straight(topology, tree, angles)
    free: list[int] = []
    offsets: list[Offset] = []
    turning: list[Rotor] = []
    for number, group in enumerate(tree.groups):
        if number in rotors:
            start = torsions[group.members[0]]
            rising = sorted(group.members, key=lambda s: (torsions[s] - start) % (2 * math.pi))
            turning.append(Rotor((rising[0], rising[1], rising[2])))
            continue
        main, *others = (None, *group.members) if group.fixed else group.members
        if main is not None:
            found = _main(topology, tree, main, torsions[main], stiff)
            free += [main] if found is None else []
            offsets += [] if found is None else [found]
        for site in others:
            assert site is not None
            flat = tree.sites[site].parent in planar
            offsets.append(_sibling(topology, tree, site, main, torsions, flat))
    return Plan(tuple(free), tuple(offsets), tuple(turning))


def _main(
    topology: Topology,
    tree: Tree,
    site: int,
    torsion: float,
    stiff: Collection[frozenset[int]],
) -> Offset | None:
    """None where it is free."""
    _, parent, grand, _ = tree.sites[site]
    centre = _rounded(torsion)
    if topology.in_ring(parent, grand):
        around = (centre - math.pi, centre + math.pi)
        return Offset(site, None, centre, around, "turned about a stiff bond")
    if frozenset((parent, grand)) in stiff:
        around = (centre - math.pi / 2, centre + math.pi / 2)
        return Offset(site, None, centre, around, "turned about a stiff bond")
    return None


def _sibling(
    topology: Topology,
    tree: Tree,
    site: int,
    main: int | None,
    torsions: np.ndarray,
    planar: bool,
) -> Offset:
    origin = 0.0 if main is None else torsions[main]
    offset = math.remainder(torsions[site] - origin, 2 * math.pi)
    if planar or abs(offset) > _PLANAR:
        interval = (0.0, 2 * math.pi)
        centre = _rounded(offset % (2 * math.pi))
    else:
        interval = (0.0, math.pi) if offset > 0 else (-math.pi, 0.0)
        centre = _rounded(offset)
    atoms = [tree.sites[site].atom] + ([] if main is None else [tree.sites[main].atom])
    hydrogens = all(topology.elements[atom] == "H" for atom in atoms)
    return Offset(site, main, centre, interval, "hydrogens swapped" if hydrogens else "mirrored")


def refuse_straight(
    topology: Topology, tree: Tree, angles: np.ndarray, whose: str = "the reference structure"
) -> None:
    """
    Raises
    ------
    UserError : one of the ``angles`` [N - 2] of the tree is 0 or pi, or hardly differs from that.
    """
    first, second, third = tree.root
    triples = [(first, second, third)]
    triples += [(site.atom, site.parent, site.grand) for site in tree.sites]
    for (atom, parent, grand), value in zip(triples, angles, strict=True):
        if not _LINEAR < value < math.pi - _LINEAR:
            raise UserError(
                f"the angle of {topology.place(atom)}, {topology.place(parent)} and "
                f"{topology.place(grand)} is {math.degrees(value):.1f} degrees by {whose}: no "
                "tree of internal coordinates covers a straight chain; use `coordinates: cartesian`"
            )


def _rounded(value: float) -> float:
    return round(float(value), 3)
