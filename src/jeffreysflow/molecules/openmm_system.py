"""From an OpenMM System to batched torch terms. Whatever is not covered is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.bonded import (
    Angles,
    Bonds,
    Maps,
    PeriodicTorsions,
    RyckaertBellemans,
    Term,
)
from jeffreysflow.molecules.born import ExpressionBorn, Kind, Obc, Part
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.nonbonded import Nonbonded
from jeffreysflow.molecules.openmm_files import refuse_fixed, refuse_no_numbers

__all__ = ["COVERED", "force_field_of"]

_THROUGH_OPENMM = "or say `evaluate: openmm`, which runs it through OpenMM"


def force_field_of(system: Any) -> ForceField:
    """The energy of an ``openmm.System``.

    Raises
    ------
    UserError : constraints, virtual sites, massless particles, parameters that are no numbers, a
        cutoff, periodic boundaries, or a force that is not covered; each by its name.
    """
    atoms = system.getNumParticles()
    constraints = system.getNumConstraints()
    if constraints:
        raise UserError(
            f"the system has {constraints} constraints, and internal coordinates would be fixed: "
            "make it with `constraints=None, rigidWater=False`"
        )
    sites = [i for i in range(atoms) if system.isVirtualSite(i)]
    if sites:
        raise UserError(f"particle {sites[0]} is a virtual site, which is not covered")
    refuse_fixed(system)
    refuse_no_numbers(system)
    bonded: list[Term] = []
    pairwise: list[Nonbonded | ExpressionBorn] = []
    for force in system.getForces():
        name = type(force).__name__
        if name == "CMMotionRemover":
            continue
        if name not in _MADE:
            raise UserError(
                f"force {name} ('{force.getName()}') is not covered by the batched energy; "
                f"covered: {', '.join(COVERED)}; leave it out, {_THROUGH_OPENMM}"
            )
        _refuse_periodic(force, name)
        for made in _MADE[name](force):
            (bonded if isinstance(made, Term) else pairwise).append(made)
    return ForceField(atoms, bonded, pairwise)


def _refuse_periodic(force: Any, name: str) -> None:
    if hasattr(force, "getNonbondedMethod") and force.getNonbondedMethod() != force.NoCutoff:
        raise UserError(
            f"force {name} has a cutoff, and the batched energy has none: make the system with "
            f"`nonbondedMethod=NoCutoff`, {_THROUGH_OPENMM}"
        )
    if force.usesPeriodicBoundaryConditions():
        raise UserError(f"force {name} has periodic boundaries, which are not covered")


def _numbers(values: Any) -> list[float]:
    """Quantities in OpenMM's own units as numbers."""
    return [float(_number(value)) for value in values]


def _number(value: Any) -> Any:
    if hasattr(value, "value_in_unit_system"):
        from openmm import unit

        return value.value_in_unit_system(unit.md_unit_system)
    return value


def _rows(
    count: int, get: Callable[[int], Any], atoms: int
) -> Iterator[tuple[list[int], list[Any]]]:
    for i in range(count):
        row = list(get(i))
        yield row[:atoms], [_number(value) for value in row[atoms:]]


def _columns(count: int, get: Callable[[int], Any], atoms: int) -> tuple[list[Any], ...]:
    """Atoms of each group, and each parameter of all groups; nothing of no groups."""
    groups, parameters = [], []
    for group, values in _rows(count, get, atoms):
        groups.append(group)
        parameters.append(values)
    return (groups, *map(list, zip(*parameters, strict=True))) if groups else ()


def _bonds(force: Any) -> Iterator[Term]:
    columns = _columns(force.getNumBonds(), force.getBondParameters, 2)
    if columns:
        yield Bonds(*columns)


def _angles(force: Any) -> Iterator[Term]:
    columns = _columns(force.getNumAngles(), force.getAngleParameters, 3)
    if columns:
        yield Angles(*columns)


def _torsions(force: Any) -> Iterator[Term]:
    columns = _columns(force.getNumTorsions(), force.getTorsionParameters, 4)
    if columns:
        yield PeriodicTorsions(*columns)


def _ryckaert_bellemans(force: Any) -> Iterator[Term]:
    columns = _columns(force.getNumTorsions(), force.getTorsionParameters, 4)
    if columns:
        yield RyckaertBellemans(columns[0], list(zip(*columns[1:], strict=True)))


def _maps(force: Any) -> Iterator[Term]:
    sized: dict[int, list[tuple[int, list[int]]]] = {}
    for i in range(force.getNumTorsions()):
        which, *atoms = force.getTorsionParameters(i)
        sized.setdefault(force.getMapParameters(which)[0], []).append((which, atoms))
    for size, torsions in sized.items():
        used = sorted({which for which, _ in torsions})
        grids = []
        for which in used:
            values = _numbers(force.getMapParameters(which)[1])
            # OpenMM's first angle varies fastest
            grids.append(np.array(values).reshape(size, size).T.copy())
        yield Maps([atoms for _, atoms in torsions], [used.index(w) for w, _ in torsions], grids)


def _nonbonded(force: Any) -> Iterator[Nonbonded]:
    for kind, count in (
        ("parameter", force.getNumParticleParameterOffsets()),
        ("exception parameter", force.getNumExceptionParameterOffsets()),
    ):
        if count:
            raise UserError(f"force NonbondedForce has {count} {kind} offsets: not covered")
    particles = [_numbers(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    exceptions = {
        (i, j): (charges, sigma, epsilon)
        for (i, j), (charges, sigma, epsilon) in _rows(
            force.getNumExceptions(), force.getExceptionParameters, 2
        )
    }
    charge, sigma, epsilon = map(list, zip(*particles, strict=True))
    yield Nonbonded(charge, sigma, epsilon, exceptions)


def _obc(force: Any) -> Iterator[ExpressionBorn]:
    rows = [_numbers(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    charge, radius, scale = map(list, zip(*rows, strict=True))
    yield Obc(
        charge,
        radius,
        scale,
        force.getSolventDielectric(),
        force.getSoluteDielectric(),
        _number(force.getSurfaceAreaEnergy()),
    )


def _custom_born(force: Any) -> Iterator[ExpressionBorn]:
    kinds: dict[int, Kind] = {
        force.SingleParticle: "single",
        force.ParticlePair: "pair",
        force.ParticlePairNoExclusions: "pair_no_exclusions",
    }
    names = [
        force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())
    ]
    rows = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    columns = [list(column) for column in zip(*rows, strict=True)]
    values = []
    for i in range(force.getNumComputedValues()):
        name, text, kind = force.getComputedValueParameters(i)
        values.append(Part(name, text, kinds[kind]))
    energies = []
    for i in range(force.getNumEnergyTerms()):
        text, kind = force.getEnergyTermParameters(i)
        energies.append(Part("", text, kinds[kind]))
    yield ExpressionBorn(
        dict(zip(names, columns, strict=True)),
        {
            force.getGlobalParameterName(i): force.getGlobalParameterDefaultValue(i)
            for i in range(force.getNumGlobalParameters())
        },
        values,
        energies,
        {
            force.getTabulatedFunctionName(i): _table(force.getTabulatedFunction(i))
            for i in range(force.getNumTabulatedFunctions())
        },
        [force.getExclusionParticles(i) for i in range(force.getNumExclusions())],
    )


def _table(function: Any) -> Callable[..., torch.Tensor]:
    kind = type(function).__name__
    if kind == "Discrete1DFunction":
        shape, values = None, function.getFunctionParameters()
    elif kind == "Discrete2DFunction":
        width, height, values = function.getFunctionParameters()
        # OpenMM's first index varies fastest
        shape = (height, width)
    else:
        raise UserError(f"CustomGBForce has a {kind}, which is not covered")
    table = torch.tensor(values, dtype=torch.float64)
    table = table if shape is None else table.reshape(shape).T.contiguous()

    def looked_up(*at: torch.Tensor) -> torch.Tensor:
        rows = tuple(each.round().long() for each in at)
        found: torch.Tensor = table.to(at[0])[rows]
        return found

    return looked_up


_MADE: dict[str, Callable[[Any], Iterator[Any]]] = {
    "CMAPTorsionForce": _maps,
    "CustomGBForce": _custom_born,
    "GBSAOBCForce": _obc,
    "HarmonicAngleForce": _angles,
    "HarmonicBondForce": _bonds,
    "NonbondedForce": _nonbonded,
    "PeriodicTorsionForce": _torsions,
    "RBTorsionForce": _ryckaert_bellemans,
}
COVERED = tuple(_MADE)
