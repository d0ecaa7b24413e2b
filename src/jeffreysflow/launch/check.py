"""Building everything an experiment names once, so that a mistake is found before any work."""

from __future__ import annotations

from pathlib import Path

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.launch.capabilities import check_capabilities
from jeffreysflow.launch.couplings import couplings_of
from jeffreysflow.launch.flow_settings import check_flow
from jeffreysflow.launch.observable_check import check_observables
from jeffreysflow.launch.target import build_bare_potential, build_path
from jeffreysflow.pathintegral.checks import check_bounded_below
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Base, FiniteSum, Potential
from jeffreysflow.potentials.checks import check_potential, check_resolution
from jeffreysflow.potentials.consistency import check_consistency, rounding_of
from jeffreysflow.potentials.probe import check_density
from jeffreysflow.potentials.term_checks import check_terms
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_inputs
from jeffreysflow.truth.quadrature import grid_axes

__all__ = ["check_experiment"]

_ROWS = 4


def check_experiment(experiment: Experiment) -> None:
    """Evaluate the energy, its gradient and all expressions at some points; build the rest.

    Raises
    ------
    UserError : one of them is bad.
    """
    path = build_path(experiment)
    assert path.base is not None
    name = experiment.potential.title
    fitted = experiment.base.kind == "fitted"
    for key, flow in experiment.flows.items():
        for where, part in zip((key, f"{key}.last_level"), flow.parts, strict=False):
            try:
                check_flow(part, path.base, fitted=fitted)
            except UserError as error:
                raise UserError(f"flows.{where}: {error}") from error
    check_capabilities(experiment, path.target)
    if experiment.base_reference is not None:
        couplings_of(experiment, path.domain)
    if isinstance(path.target, FiniteSum):
        check_terms(path.target, path.base, name)
    check_potential(path.target, path.base, name)
    if experiment.potential.file is not None:
        _refuse_another_each_time(Path(experiment.potential.file), path.base, name)
    check_consistency(path.target, path.base, name)
    _check_where_it_matters(experiment, path.target, path.base, name)
    target = path.target
    if experiment.path_integral is not None:
        target = build_bare_potential(experiment)
    check_observables(experiment, path, target)
    if experiment.path_integral is not None:
        pass
    elif experiment.truth is not None and experiment.truth.method == "quadrature":
        grid_axes(path.domain, experiment.truth.box, points=2)
    elif experiment.truth is not None:
        exact_inputs(path.target)
    generation = experiment.generation
    block_size(generation.samples, generation.convergence, generation.group)


def _refuse_another_each_time(file: Path, base: Base, name: str) -> None:
    """Every process imports the file for itself."""
    one, other = (load_user_potential(file) for _ in range(2))
    # of a path integral the base is that of its modes
    same = one.domain == base.domain
    x = (base if same else Base(one.domain)).sample(_ROWS, Stream(0, "made alike"))
    with torch.no_grad():
        U, again = one.energy(x), other.energy(x)
    off = (U - again).abs() > rounding_of(U)
    if bool(off.any()):
        raise UserError(
            f"{name}: the energy is another one each time its file is imported; something in it is "
            "drawn: give it a seed, or read it from a file"
        )


def _check_where_it_matters(
    experiment: Experiment, target: Potential, base: Base, name: str
) -> None:
    """Resolution of the energy and its behaviour far out; of a path integral also those of V."""
    ring = experiment.path_integral
    if ring is not None:
        V = build_bare_potential(experiment)
        check_bounded_below(V, name)
        # two beads and one mode: beta V at the centroid, nothing beside it
        centroid = RingPolymer(V, ring.beta, 2, 1)
        check_resolution(centroid, Base(centroid.domain), name)
    check_resolution(target, base, name)
    if not target.normalisable:
        check_density(target, base, name)
