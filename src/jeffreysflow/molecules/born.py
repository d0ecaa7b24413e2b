"""Generalised Born solvents, kJ/mol: OpenMM's own OBC model, and models given as expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.expressions import Expression
from jeffreysflow.molecules.nonbonded import COULOMB, Pairs
from jeffreysflow.molecules.pair_sums import PairSums
from jeffreysflow.molecules.screening import OVERLAP, STILL, overlap, still

__all__ = ["ExpressionBorn", "Obc", "Part", "obc_expressions"]

Kind = Literal["single", "pair", "pair_no_exclusions"]


class Part(NamedTuple):
    """A computed value, or with no ``name`` a term of the energy, as OpenMM writes it."""

    name: str
    text: str
    kind: Kind


class ExpressionBorn(nn.Module):
    """A custom generalised-Born force: values of each atom, sums over pairs or functions of the
    atom's other values, and energies of atoms and pairs of atoms.

    Parameters
    ----------
    parameters : of each atom, by name.
    constants : global parameters, by name.
    values, energies : in their order; the first value is a sum over pairs.
    functions : tables that expressions call.
    excluded : pairs that energies of kind `pair` leave out.

    Raises
    ------
    UserError : an expression that cannot be read, or that uses what nobody gives.
    """

    kept: torch.Tensor

    def __init__(
        self,
        parameters: Mapping[str, Sequence[float]],
        constants: Mapping[str, float],
        values: Sequence[Part],
        energies: Sequence[Part],
        functions: Mapping[str, Callable[..., Any]],
        excluded: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self._constants, self._names = dict(constants), list(parameters)
        for name, column in parameters.items():
            values_of = torch.tensor(column, dtype=torch.float64).unsqueeze(-1)
            self.register_buffer(f"of_{name}", values_of)
        known: dict[str, Callable[..., Any]] = {**functions, "overlap": overlap, "still": still}
        self._values = [(part, Expression(_short(part.text), known)) for part in values]
        self._energies = [(part, Expression(_short(part.text), known)) for part in energies]
        self._check_names()
        atoms = len(next(iter(parameters.values())))
        first, second = torch.triu_indices(atoms, atoms, offset=1)
        gone = {(min(pair), max(pair)) for pair in excluded}
        kept = [pair not in gone for pair in zip(first.tolist(), second.tolist(), strict=True)]
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.float64).unsqueeze(-1))
        self._sums = PairSums(atoms)

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """Energies [n]."""
        r = pairs.r
        of_atoms: dict[str, torch.Tensor] = {
            name: getattr(self, f"of_{name}").to(r) for name in self._names
        }
        for part, expression in self._values:
            if part.kind == "single":
                of_atoms[part.name] = expression({**self._constants, **of_atoms})
                continue
            sides = []
            for one, two in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
                given = self._of_pairs(expression, of_atoms, one, two, r)
                sides.append(self._masked(part, expression(given), r))
            of_atoms[part.name] = self._sums(*sides)
        total = r.new_zeros(r.shape[1])
        for part, expression in self._energies:
            if part.kind == "single":
                energy = expression({**self._constants, **of_atoms})
            else:
                given = self._of_pairs(expression, of_atoms, pairs.first, pairs.second, r)
                energy = self._masked(part, expression(given), r)
            total = total + energy.sum(dim=0)
        return total

    def _masked(self, part: Part, energy: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return energy * self.kept.to(r) if part.kind == "pair" else energy

    def _of_pairs(
        self,
        expression: Expression,
        of_atoms: Mapping[str, torch.Tensor],
        one: torch.Tensor,
        two: torch.Tensor,
        r: torch.Tensor,
    ) -> dict[str, Any]:
        given: dict[str, Any] = {**self._constants, "r": r}
        for name, values in of_atoms.items():
            for number, rows in (("1", one), ("2", two)):
                if name + number in expression.names:
                    given[name + number] = values.index_select(0, rows)
        return given

    def _check_names(self) -> None:
        known = set(self._names)
        for part, expression in (*self._values, *self._energies):
            given = set(self._constants) | known
            if part.kind != "single":
                given = {"r", *self._constants, *(f"{n}{side}" for n in known for side in "12")}
            unknown = sorted(expression.names - given)
            if unknown:
                raise UserError(
                    f"CustomGBForce: the expression of '{part.name or 'the energy'}' uses "
                    f"'{unknown[0]}', which is no parameter of it"
                )
            if part.name:
                known.add(part.name)


def _short(text: str) -> str:
    """An expression with what is known of it by name."""
    spheres = {"U": "r+sr2", "L": "max(or1,D)", "D": "abs(r-sr2)"}
    defined = [part.partition("=") for part in text.replace(" ", "").split(";")]
    given = {name: value for name, _, value in defined}
    if all(given.get(name) == value for name, value in spheres.items()):
        text = text.replace(OVERLAP, "overlap(r, or1, sr2)")
    return text.replace(STILL, "still(r, B1*B2)")


_OFFSET = 0.009
_RADIUS = "1/(1/or - tanh(psi - 0.8*psi^2 + 4.85*psi^3)/radius); psi = I*or; radius = or + offset"


def obc_expressions(surface: bool) -> tuple[list[Part], list[Part]]:
    """The OBC II model of Onufriev, Bashford and Case (2004, doi 10.1002/prot.20033), as OpenMM's
    GBSAOBCForce has it, of per-atom ``charge``, ``or`` (the radius less .009 nm) and ``sr`` (that,
    scaled); with the ACE surface term if there is one.
    """
    swallowed = "step(sr2 - r - or1)*(1/or1 - 1/L); L = max(or1, abs(r - sr2))"
    values = [
        Part("I", f"overlap(r, or1, sr2) + {swallowed}", "pair_no_exclusions"),
        Part("B", _RADIUS, "single"),
    ]
    energies = [
        Part("", "-0.5*coulomb*polarity*charge^2/B", "single"),
        Part(
            "",
            "-coulomb*polarity*charge1*charge2/still(r, B1*B2)",
            "pair_no_exclusions",
        ),
    ]
    if surface:
        text = "4*pi*tension*(radius + 0.14)^2*(radius/B)^6; radius = or + offset"
        energies.append(Part("", text, "single"))
    return values, energies


class Obc(ExpressionBorn):
    """OpenMM's GBSAOBCForce without cutoff.

    Parameters
    ----------
    charge, radius, scale : of each atom; e, nm, 1.
    solvent, solute : dielectric constants.
    tension : of the surface, kJ/mol/nm^2.
    """

    def __init__(
        self,
        charge: Sequence[float],
        radius: Sequence[float],
        scale: Sequence[float],
        solvent: float,
        solute: float,
        tension: float,
    ) -> None:
        offset = [each - _OFFSET for each in radius]
        values, energies = obc_expressions(surface=tension != 0)
        scaled = [factor * each for factor, each in zip(scale, offset, strict=True)]
        super().__init__(
            {"charge": charge, "or": offset, "sr": scaled},
            {
                "coulomb": COULOMB,
                "polarity": 1 / solute - 1 / solvent,
                "offset": _OFFSET,
                "tension": tension,
                "pi": torch.pi,
            },
            values,
            energies,
            {},
        )
