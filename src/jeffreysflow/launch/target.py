"""From a configuration to the objects of the mathematics: potential, base and path."""

from __future__ import annotations

from pathlib import Path

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.structure_files import check_structure_unchanged
from jeffreysflow.errors import UserError
from jeffreysflow.launch.usage import EVALUATIONS
from jeffreysflow.pathintegral.classical import ClassicalRing
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import AnnealingPath, Base, Counted, Potential, get_potential
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.stores.fitted_bases import load_base
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.start import Start
from jeffreysflow.userfiles.sources import check_unchanged

__all__ = [
    "build_bare_potential",
    "build_base",
    "build_flow_path",
    "build_path",
    "build_path_from_base",
    "build_potential",
    "build_tempering",
    "counted",
    "dimension_of",
    "scales_of",
]


def build_potential(experiment: Experiment) -> Potential:
    """The target energy of an experiment, kT: for a path integral, that of its ring polymer.

    Raises
    ------
    UserError : it cannot be built, or its file, or one that it reads, has changed since the
        experiment was resolved.
    """
    potential, ring = build_bare_potential(experiment), experiment.path_integral
    if ring is None:
        return potential
    return RingPolymer(potential, ring.beta, ring.action_beads, ring.modes, ring.high)


def build_bare_potential(experiment: Experiment) -> Potential:
    """The potential that an experiment names; of a path integral V, in units of energy."""
    potential = _named_or_own(experiment)
    EVALUATIONS.terms = potential.terms
    return potential


def _named_or_own(experiment: Experiment) -> Potential:
    section = experiment.potential
    if section.file is not None:
        potential = load_user_potential(Path(section.file))
        check_unchanged(potential, map(Path, section.files), experiment.sources)
        if section.workers > 1:
            return load_user_potential(Path(section.file), section.workers)
        return potential
    if section.structure is not None:
        return _of_structure(experiment)
    assert section.name is not None
    return get_potential(section.name, **section.parameters)


def near_structure(path: AnnealingPath) -> Start:
    """Samples near the reference structure of a molecule."""
    from jeffreysflow.molecules.molecule import Molecule, NearStructure

    assert isinstance(path.target, Molecule)
    return NearStructure(path.target, path.counted)


def _of_structure(experiment: Experiment) -> Potential:
    # here, because nothing else needs what reads molecules
    from jeffreysflow.launch.molecule import build_ase, build_molecule

    section = experiment.potential
    check_structure_unchanged(section, experiment.sources)
    if section.molecule is not None:
        return build_molecule(section.molecule, section.workers)
    assert section.ase is not None
    return build_ase(section.ase, section.workers)


def dimension_of(experiment: Experiment) -> int:
    """How many coordinates flows act on: of a path integral, those of its modes."""
    ring, d = experiment.path_integral, build_bare_potential(experiment).dimension
    return d if ring is None else d * ring.modes


def build_base(experiment: Experiment, potential: Potential) -> Base:
    """The base distribution of an experiment, on the potential's domain; of a path integral, its
    classical limit too, a ring polymer in ``|x|^2 / 2``.

    Raises
    ------
    UserError : as many means or standard deviations as the potential has no coordinates; a law
        between walls where there are none, or of which nothing is there.
    """
    if isinstance(potential, ClassicalRing):
        potential = potential.ring
    if isinstance(potential, RingPolymer):
        return Base(potential.domain, 0.0, potential.base_sd)
    d = potential.dimension
    for key, value in (("mean", experiment.base.mean), ("sd", experiment.base.sd)):
        if isinstance(value, list) and len(value) != d:
            raise UserError(
                f"{experiment.name}: base.{key}: {len(value)} values for {d} coordinates"
            )
    section = experiment.base
    if section.walls != "uniform" and not potential.domain.walls:
        raise UserError(
            f"{experiment.name}: base.walls: {section.walls}, but no coordinate of the energy lies "
            "between walls"
        )
    return Base(potential.domain, section.mean, section.sd, section.tails, section.walls)


def build_path(experiment: Experiment, reference: str | None = None) -> AnnealingPath:
    """The annealing path of an experiment, from where tempering starts, or the path a reference is
    tempered along.
    """
    potential = build_potential(experiment)
    base = build_base(experiment, potential)
    if reference is None:
        return AnnealingPath(base, potential, EVALUATIONS)
    section = experiment.reference(reference)
    target = potential
    if section.target == "classical":
        assert isinstance(potential, RingPolymer)
        target = ClassicalRing(potential)
    return AnnealingPath(None if section.path == "power" else base, target, EVALUATIONS)


def build_path_from_base(experiment: Experiment, flow: str, layout: Layout) -> AnnealingPath:
    """The annealing path from the base of a flow, which may be a fitted one, to the target.

    Raises
    ------
    UserError : the fitted base is missing, foreign or damaged.
    """
    if experiment.base_reference is None:
        return build_path(experiment)
    potential, level = build_potential(experiment), experiment.base_level(flow)
    file = layout.base(level) / "base.safetensors"
    fitted = load_base(file, potential.domain, experiment.base_hash(level))
    return AnnealingPath(fitted, potential, EVALUATIONS)


def build_flow_path(experiment: Experiment, flow: str, layout: Layout) -> AnnealingPath:
    """The path that a flow follows, from its base on: that of its reference, or where it has one
    level, any. The base as for ``build_path_from_base``.
    """
    path = build_path_from_base(experiment, flow, layout)
    reference = experiment.references[experiment.tempered(flow)]
    power = experiment.flow(flow).levels == "all" and reference.path == "power"
    return AnnealingPath(path.base, path.target, EVALUATIONS, power=power)


def build_tempering(
    experiment: Experiment, reference: str, device: torch.device
) -> tuple[AnnealingPath, Start]:
    """The path a reference is tempered along, and where its replicas start, on a device."""
    path = build_path(experiment, reference)
    start: Start = build_base(experiment, path.target)
    if experiment.tempering(reference).start == "structure":
        start = near_structure(path)
    for part in (path.target, path.base, start):
        if part is not None:
            part.to(device)
    return path, start


def scales_of(experiment: Experiment) -> dict[str, float]:
    """What a store tells of the units of its coordinates: of a molecule its temperature, in K."""
    structure = experiment.potential.structure
    return {} if structure is None else {"temperature": structure.temperature}


def counted(potential: Potential) -> Potential:
    """The same potential, its evaluations counted as those of the paths are."""
    return Counted(potential, EVALUATIONS)
