"""Building everything an experiment names once, so that a mistake is found before any work."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.pathintegral.checks import check_bounded_below
from jeffreysflow.potentials.user import check_potential
from jeffreysflow.stages.observable_check import check_observables
from jeffreysflow.stages.target import build_bare_potential, build_path
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.truth.exact_map import exact_inputs
from jeffreysflow.truth.quadrature import grid_axes

__all__ = ["check_experiment"]


def check_experiment(experiment: Experiment) -> None:
    """Evaluate the energy, its gradient and all expressions at some points; build the rest.

    Raises
    ------
    UserError : one of them is bad.
    """
    path = build_path(experiment)
    assert path.base is not None
    name = experiment.potential.file or f"potential '{experiment.potential.name}'"
    check_potential(path.target, path.base, name)
    for reference in experiment.references.values():
        get_kernel(reference.kernel.name, **reference.kernel.parameters)
    target = path.target
    if experiment.path_integral is not None:
        target = build_bare_potential(experiment)
        check_bounded_below(target, name)
    check_observables(experiment, path, target)
    if experiment.path_integral is not None:
        pass
    elif experiment.truth is not None and experiment.truth.method == "quadrature":
        grid_axes(path.domain, experiment.truth.box, points=2)
    elif experiment.truth is not None:
        exact_inputs(path.target)
    generation = experiment.generation
    sobol = generation.base_points == "sobol"
    sequence = generation.samples // generation.scramblings if sobol else None
    block_size(generation.samples, generation.convergence, sequence)
