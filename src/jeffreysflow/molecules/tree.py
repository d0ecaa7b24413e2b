"""The order in which internal coordinates place the atoms of a molecule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.topology import Topology

__all__ = ["Group", "Site", "Tree", "build_tree"]


class Site(NamedTuple):
    """How an atom is placed: its bond to ``parent``, the angle there with ``grand``, and the
    dihedral about that axis from the direction ``ends[0]`` -> ``ends[1]``.
    """

    atom: int
    parent: int
    grand: int
    ends: tuple[int, int]


class Group(NamedTuple):
    """All atoms placed about one axis, by their place in ``Tree.sites``. Where ``fixed``, the
    dihedral of another atom is the origin of theirs, so that all are offsets.
    """

    members: tuple[int, ...]
    parent: int
    grand: int
    fixed: bool


@dataclass(frozen=True)
class Tree:
    """``root`` three atoms: the origin, one at a bond's length, one at a bond's length and an
    angle; all others are ``sites``, in generations that depend on earlier ones only.
    """

    root: tuple[int, int, int]
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    generations: tuple[tuple[int, ...], ...]

    @property
    def order(self) -> tuple[int, ...]:
        """Atoms in the order in which they are placed."""
        placed = (self.sites[i].atom for generation in self.generations for i in generation)
        return (*self.root, *placed)


def build_tree(topology: Topology) -> Tree:
    """A tree over the bonds, along the longest chain of heavy atoms from one of its ends.

    Of the atoms about one axis the one that carries the most heavy atoms comes first, so that
    backbone dihedrals are coordinates. Of a ring one bond is left out of the tree.

    Raises
    ------
    UserError : fewer than three atoms, or no single molecule.
    """
    if topology.atoms < 3:
        raise UserError(
            f"internal coordinates need at least 3 atoms, found {topology.atoms}; use "
            "`coordinates: cartesian`"
        )
    topology.check_one_molecule()
    root = _root(topology)
    parents = _parents(topology, root)
    children: dict[int, list[int]] = {atom: [] for atom in range(topology.atoms)}
    for atom, parent in parents.items():
        children[parent].append(atom)
    weight = {atom: _weight(topology, children, atom) for atom in range(topology.atoms)}
    first, second, third = root
    sites: list[Site] = []
    groups: list[Group] = []
    generations: list[tuple[int, ...]] = []
    # axes (parent, grand, the direction dihedrals count from, whether an atom is placed already)
    axes = [(second, first, (second, third), True), (first, second, (second, third), False)]
    axes.append((third, second, (second, first), False))
    while axes:
        generation: list[int] = []
        following = []
        for parent, grand, ends, fixed in axes:
            new = [each for each in children[parent] if each not in root]
            new.sort(key=lambda each: (-weight[each], each))
            members = range(len(sites), len(sites) + len(new))
            sites += [Site(atom, parent, grand, ends) for atom in new]
            if new:
                groups.append(Group(tuple(members), parent, grand, fixed))
            generation += members
            following += [(atom, parent, (parent, grand), False) for atom in new if children[atom]]
        if generation:
            generations.append(tuple(generation))
        axes = following
    return Tree(root, tuple(sites), tuple(groups), tuple(generations))


def _root(topology: Topology) -> tuple[int, int, int]:
    heavy = {i for i, element in enumerate(topology.elements) if element != "H"}
    light = set(range(topology.atoms)) - heavy
    inside = heavy if _longest(topology, light) >= 2 else set(range(topology.atoms))
    outside = set(range(topology.atoms)) - inside
    distances = {atom: _distances(topology, atom, outside) for atom in sorted(inside)}
    reach = {atom: max(found.values()) for atom, found in distances.items()}
    first = max(reach, key=lambda atom: (reach[atom], -atom))
    # along the way to the farthest atom
    far = max(distances[first], key=lambda atom: (distances[first][atom], -atom))
    way = [far]
    while way[-1] != first:
        here = way[-1]
        near = [
            each
            for each in topology.neighbours[here]
            if distances[first].get(each, -1) == distances[first][here] - 1
        ]
        way.append(near[0])
    second = way[-2]
    # in a ring of three, or where all are bonded to all, the farthest is one bond away
    others = [each for each in topology.neighbours[second] if each != first]
    third = way[-3] if len(way) > 2 else min(others, key=lambda each: (each in outside, each))
    return first, second, third


def _longest(topology: Topology, outside: set[int]) -> int:
    """The number of bonds between the two farthest atoms."""
    inside = set(range(topology.atoms)) - outside
    return max((max(_distances(topology, i, outside).values()) for i in inside), default=0)


def _distances(topology: Topology, start: int, outside: set[int]) -> dict[int, int]:
    found, ring = {start: 0}, [start]
    while ring:
        following = []
        for atom in ring:
            for neighbour in topology.neighbours[atom]:
                if neighbour not in found and neighbour not in outside:
                    found[neighbour] = found[atom] + 1
                    following.append(neighbour)
        ring = following
    return found


def _parents(topology: Topology, root: tuple[int, int, int]) -> dict[int, int]:
    """Of each atom the one nearer to the root that it is placed from, breadth first."""
    first, second, third = root
    parents = {second: first, third: second}
    ring = [first, second, third]
    seen = set(root)
    while ring:
        following = []
        for atom in ring:
            for neighbour in topology.neighbours[atom]:
                if neighbour not in seen:
                    seen.add(neighbour)
                    parents[neighbour] = atom
                    following.append(neighbour)
        ring = following
    return parents


def _weight(topology: Topology, children: dict[int, list[int]], atom: int) -> int:
    """Heavy atoms that are placed from here on."""
    total, waiting = 0, [atom]
    while waiting:
        here = waiting.pop()
        total += topology.elements[here] != "H"
        waiting += children[here]
    return total
