"""The field of the true sources of a screened Poisson equation, and its sensors."""

from __future__ import annotations

import math

import numpy as np
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.launch.target import build_potential
from jeffreysflow.potentials.energies.screened_poisson_8d import ScreenedPoisson8d
from jeffreysflow.report.data import SourceField
from jeffreysflow.report.figures import poisson_field

__all__ = ["read_field"]


def read_field(experiment: Experiment) -> SourceField | None:
    """What the true sources give; None for other targets."""
    if not poisson_field.applies(experiment):
        return None
    target = build_potential(experiment)
    assert isinstance(target, ScreenedPoisson8d)
    true = torch.tensor([target.true_sources], dtype=torch.float64)
    with torch.no_grad():
        source, solution = target.source(true)[0], target.solution(true)[0]
    axis = np.linspace(0.1, 0.9, math.isqrt(target.terms))
    sensors = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return SourceField(source.numpy(), solution.numpy(), sensors, true.reshape(-1, 2).numpy())
