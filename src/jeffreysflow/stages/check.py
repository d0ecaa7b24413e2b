"""Building everything an experiment names once, so that a mistake is found before any work."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.estimation.observables import observable_values
from jeffreysflow.potentials.user import check_potential
from jeffreysflow.stages.target import build_path
from jeffreysflow.stages.truth import build_observables
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.truth.quadrature import grid_axes

__all__ = ["check_experiment"]


def check_experiment(experiment: Experiment) -> None:
    """Evaluate the energy, its gradient and the observables at a few points; build the rest.

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
    x = path.base.sample(2, Stream(experiment.seed, "check"))
    observable_values(build_observables(experiment, path.target), x, path.target.energy(x))
    if experiment.truth is not None:
        grid_axes(path.domain, experiment.truth.box, points=2)
    generation = experiment.generation
    sobol = generation.base_points == "sobol"
    sequence = generation.samples // generation.scramblings if sobol else None
    block_size(generation.samples, generation.convergence, sequence)
