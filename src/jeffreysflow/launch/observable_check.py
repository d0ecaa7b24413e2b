"""Whether all expressions are numbers where the target has mass, before any work."""

from __future__ import annotations

import math

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.observables import Observable, parse_observables
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import AnnealingPath, Potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.relaxed import points_with_mass

__all__ = ["check_observables"]

_BASE_SAMPLES = 4096
_ONE_AT_A_TIME = 64
"""Base samples then, and samples of the walk."""


def check_observables(experiment: Experiment, path: AnnealingPath, target: Potential) -> None:
    """Evaluate the energy, the observables, profiles and views at base samples of low target energy
    and after a few local moves, as tempering's first rounds make them. ``target`` is that of the
    path, or V of a path integral: its classical law.

    Raises
    ------
    UserError : an expression is wrong, or no finite number where the target has mass, with x.
    """
    measured = build_measured(experiment, target)
    named = getattr(target, "observables", {})
    views = [expression for view in experiment.views for expression in view]
    expressions: list[Observable] = [
        *measured.observables,
        *measured.regions,
        *(profile.observable for profile in measured.profiles),
        *parse_observables(views, target.dimension, named),
    ]
    assert path.base is not None
    stream = Stream(experiment.seed, experiment.name, "check observables")
    few = path.target.one_at_a_time
    start, beta = path.base.sample(_ONE_AT_A_TIME if few else _BASE_SAMPLES, stream), 1.0
    if isinstance(path.target, RingPolymer):
        # the lowest mode is the centroid
        beta = path.target.beta
        start = start[:, : target.dimension] / math.sqrt(beta)
    scale = start.std(dim=0)
    x, U = points_with_mass(
        lambda y: beta * target.energy(y).to(torch.float64),
        start,
        scale,
        target.domain,
        stream,
        visits=_ONE_AT_A_TIME if few else None,
    )
    for expression in expressions:
        expression(x, U / beta)
