"""Configuration of energies that come from other programs: a force field, or an ASE calculator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jeffreysflow.config.expressions import check_name
from jeffreysflow.config.section import Section
from jeffreysflow.errors import shown

__all__ = ["STRUCTURE_FILES", "AseConfig", "MoleculeConfig"]

STRUCTURE_FILES = {"prmtop", "pdb", "system", "structure"}
"""The keys of files, of which digests are kept."""

_ATOM = re.compile(r"[1-9]\d*:\S+|[1-9]\d*")


class _Structure(Section):
    """What molecules and clusters have in common."""

    temperature: float = Field(gt=0)
    """Of the target, in kelvin: T_0. A ladder of temperatures ends here."""
    atoms: int | None = Field(default=None, ge=1)
    """How many there are; checked, and known to what estimates sizes."""
    dihedrals: dict[str, list[str]] = Field(default_factory=dict)
    """Observables in radian by name: four atoms each, as `residue:name` (`2:CA`) or numbers, all
    counted from 1 by their place, whatever number a file gives a residue."""
    distances: dict[str, list[str]] = Field(default_factory=dict)
    """Observables in nm by name: two atoms each."""

    @model_validator(mode="after")
    def _atoms_are_named(self) -> Self:
        for key, groups, size in (
            ("dihedrals", self.dihedrals, 4),
            ("distances", self.distances, 2),
        ):
            for name, atoms in groups.items():
                check_name(key, name)
                bad = [atom for atom in atoms if not _ATOM.fullmatch(atom)]
                if len(atoms) != size or bad:
                    raise ValueError(
                        f"{key}.{name}: {size} atoms, each residue:name ('2:CA') or a number from "
                        f"1; found {shown(atoms)}"
                    )
                if len(set(atoms)) < size:
                    raise ValueError(f"{key}.{name}: {size} different atoms; found {shown(atoms)}")
        both = sorted(self.dihedrals.keys() & self.distances.keys())
        if both:
            raise ValueError(f"distances.{both[0]}: there is a dihedral of that name")
        return self

    @property
    def files(self) -> dict[str, str]:
        """The files that are read, by key."""
        raise NotImplementedError


class MoleculeConfig(_Structure):
    """A molecule with a force field, through OpenMM (the extra `molecules`).

    Give `prmtop`, or `pdb` with `forcefield`, or `system` with `pdb`. A file is relative to the
    experiment file, or `package:path` inside an installed Python package.
    """

    prmtop: str | None = None
    """Amber topology with its parameters."""
    pdb: str | None = None
    """PDB file: topology, and positions where `structure` gives none."""
    forcefield: list[str] = Field(default_factory=list)
    """OpenMM force-field files, e.g. `[amber96.xml, amber96_obc.xml]`: names that come with OpenMM,
    or files."""
    system: str | None = None
    """A serialised OpenMM System (XML) for the topology in `pdb`."""
    structure: str | None = None
    """Positions of the reference structure: inpcrd (.crd, .inpcrd, .rst7) or PDB. It says which
    mirror image is meant, and is where scales are measured."""
    solvent: Literal["none", "HCT", "OBC1", "OBC2", "GBn", "GBn2"] = "none"
    """Generalised Born model with a `prmtop`."""
    coordinates: Literal["internal", "cartesian"] = "internal"
    """`internal`: bonds, angles and dihedrals in units of their spread; `cartesian`: positions, the
    centroid held by a Gaussian of its own."""
    length: float = Field(default=0.005, gt=0)
    """One unit of a Cartesian coordinate, nm."""
    evaluate: Literal["torch", "openmm"] = "torch"
    """`torch`: batched, differentiable, on any device; `openmm`: by OpenMM's Reference platform, a
    configuration at a time in `workers` processes, for forces that torch does not cover."""
    cutoff: float | None = Field(default=None, gt=0)
    """Cutoff of nonbonded forces in nm, with `evaluate: openmm`; none without."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("prmtop", "system", "forcefield") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                "give one of 'prmtop', 'forcefield' (with 'pdb') and 'system' (with 'pdb'); found "
                + (", ".join(given) or "none")
            )
        if given != ["prmtop"] and self.pdb is None:
            raise ValueError(f"'{given[0]}' needs a 'pdb' with the topology")
        if given == ["prmtop"] and self.structure is None and self.pdb is None:
            raise ValueError("'prmtop' has no positions: give a 'structure'")
        if given != ["prmtop"] and self.solvent != "none":
            raise ValueError(
                f"'solvent' belongs to a 'prmtop'; with '{given[0]}' it is part of that"
            )
        if self.cutoff is not None and self.evaluate != "openmm":
            raise ValueError("'cutoff' needs 'evaluate: openmm': the batched energy has none")
        if self.cutoff is not None and self.system is not None:
            raise ValueError("'cutoff' is part of the 'system'; leave it out")
        return self

    @property
    def files(self) -> dict[str, str]:
        named = {key: getattr(self, key) for key in sorted(STRUCTURE_FILES)}
        return {key: value for key, value in named.items() if value is not None}


class AseConfig(_Structure):
    """Atoms with a calculator of the Atomic Simulation Environment (the extra `ase`)."""

    structure: str
    """A file that `ase.io.read` reads: elements and reference positions, in Angstrom."""
    calculator: str
    """Its class, as `module:name`, e.g. `ase.calculators.emt:EMT`, or `my_calc.py:Calc`, in a file
    relative to the experiment file."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the calculator. One that is the name of a file beside the experiment
    file is that file."""
    length: float = Field(default=0.1, gt=0)
    """One unit of a coordinate, Angstrom."""
    trap: float = Field(default=0.0, ge=0)
    """``k`` of ``k |r - c|^2 / 2`` for every atom, with the centroid c, in eV/Angstrom^2: what
    keeps a cluster from evaporating."""

    @field_validator("calculator")
    @classmethod
    def _has_module_and_name(cls, calculator: str) -> str:
        if not re.fullmatch(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_]\w*", calculator):
            raise ValueError(
                "must be module:name, e.g. ase.calculators.emt:EMT, or file.py:name; found "
                f"{shown(calculator)}"
            )
        return calculator

    @property
    def files(self) -> dict[str, str]:
        return {"structure": self.structure}

    @property
    def calculator_file(self) -> str | None:
        """The file of a calculator of the user's own, where it is no module."""
        place = self.calculator.rpartition(":")[0]
        return place if place.endswith(".py") else None

    @property
    def parameter_files(self) -> dict[str, str]:
        """The parameters of a resolved section that are files."""
        return {
            key: value
            for key, value in self.parameters.items()
            if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file()
        }

    def without_places(self) -> dict[str, Any]:
        """What of its section tells where files lie, so far as it does not tell which."""
        name = self.calculator.rpartition(":")[2]
        moved = {"calculator": name} if self.calculator_file else {}
        files = self.parameter_files
        return moved | {"parameters": {k: v for k, v in self.parameters.items() if k not in files}}
