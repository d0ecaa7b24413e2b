"""Which atoms a molecule has and which are bonded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from jeffreysflow.errors import UserError

__all__ = ["Topology"]


@dataclass(frozen=True)
class Topology:
    """Atoms in their order, and pairs of bonded ones.

    ``names`` are atom names (`CA`), ``residues`` the residue of each atom (name and number within
    the molecule).
    """

    elements: tuple[str, ...]
    bonds: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ()
    residues: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.elements)
        object.__setattr__(self, "names", self.names or self.elements)
        object.__setattr__(self, "residues", self.residues or (("MOL", 1),) * n)

    @property
    def atoms(self) -> int:
        """Their number."""
        return len(self.elements)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """The bonded atoms of each atom."""
        found: list[set[int]] = [set() for _ in self.elements]
        for i, j in self.bonds:
            found[i].add(j)
            found[j].add(i)
        return tuple(tuple(sorted(each)) for each in found)

    def place(self, atom: int) -> str:
        """An atom as messages name it.

        >>> Topology(("O", "H"), ((0, 1),)).place(1)
        'H of MOL 1 (atom 2)'
        """
        residue, number = self.residues[atom]
        return f"{self.names[atom]} of {residue} {number} (atom {atom + 1})"

    def reached(self, start: int, without: Iterable[int] = ()) -> set[int]:
        """The atoms that bonds lead to from ``start``, itself included, not through ``without``."""
        seen, waiting = {start, *without}, [start]
        found = {start}
        while waiting:
            for neighbour in self.neighbours[waiting.pop()]:
                if neighbour not in seen:
                    seen.add(neighbour)
                    found.add(neighbour)
                    waiting.append(neighbour)
        return found

    def in_ring(self, i: int, j: int) -> bool:
        """Whether the bond of i and j is part of a ring."""
        waiting, seen = [each for each in self.neighbours[i] if each != j], {i}
        while waiting:
            atom = waiting.pop()
            if atom == j:
                return True
            if atom not in seen:
                seen.add(atom)
                waiting += self.neighbours[atom]
        return False

    def check_one_molecule(self) -> None:
        """
        Raises
        ------
        UserError : bonds do not lead from every atom to every other.
        """
        rest = sorted(set(range(self.atoms)) - self.reached(0))
        if rest:
            raise UserError(
                f"bonds do not lead from {self.place(0)} to {self.place(rest[0])}: internal "
                "coordinates are of one molecule; use `coordinates: cartesian`, or where they are "
                "one molecule give the PDB file its CONECT records"
            )

    def find(self, residue: int, name: str) -> int | None:
        """The atom of this name in a residue, if there is one, and only one."""
        found = self.named(residue, name)
        return found[0] if len(found) == 1 else None

    def named(self, residue: int, name: str) -> tuple[int, ...]:
        """All atoms of this name in a residue."""
        return tuple(self._places.get((residue, name), ()))

    @cached_property
    def _places(self) -> dict[tuple[int, str], list[int]]:
        found: dict[tuple[int, str], list[int]] = {}
        for atom, (name, (_, number)) in enumerate(zip(self.names, self.residues, strict=True)):
            found.setdefault((number, name), []).append(atom)
        return found

    def backbone_torsions(self) -> dict[str, tuple[int, int, int, int]]:
        """phi, psi and omega of a peptide, by name: `phi` where there is one of them, else
        `phi_2`, numbered by residue. omega of a residue is about the bond to the one before. Where
        a chain ends there are none, whatever the number of the next residue.
        """
        numbers = sorted({number for _, number in self.residues})
        found: dict[str, dict[int, tuple[int, int, int, int]]] = {}
        for number in numbers:
            for name, pattern in _BACKBONE.items():
                places = (
                    [self.find(number + shift, each) for each in names] for shift, names in pattern
                )
                first, second, third, fourth = (
                    next((atom for atom in place if atom is not None), -1) for place in places
                )
                atoms = (first, second, third, fourth)
                if min(atoms) >= 0 and all(b in self.neighbours[a] for a, b in pairwise(atoms)):
                    found.setdefault(name, {})[number] = atoms
        return {
            name if len(torsions) == 1 else f"{name}_{number}": atoms
            for name, torsions in found.items()
            for number, atoms in torsions.items()
        }


_Pattern = Sequence[tuple[int, Sequence[str]]]
_BACKBONE: dict[str, _Pattern] = {
    "phi": ((-1, ["C"]), (0, ["N"]), (0, ["CA"]), (0, ["C"])),
    "psi": ((0, ["N"]), (0, ["CA"]), (0, ["C"]), (1, ["N"])),
    "omega": ((-1, ["CA", "CH3"]), (-1, ["C"]), (0, ["N"]), (0, ["CA", "CH3", "C"])),
}
