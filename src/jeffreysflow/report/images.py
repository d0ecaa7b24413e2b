"""Densities in a plane as images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm

from jeffreysflow.report.style import DENSITY_MAP

__all__ = ["peak", "root_norm", "show"]


def peak(values: np.ndarray) -> float:
    """The density that the brightest colour stands for."""
    # a few overfull bins must not darken the rest
    positive = values[values > 0]
    return float(np.quantile(positive, 0.99)) if positive.size else 1.0


def root_norm(largest: float) -> PowerNorm:
    """Colours proportional to the square root of a density up to ``largest``."""
    return PowerNorm(0.5, vmin=0, vmax=largest)


def show(
    ax: Axes,
    values: np.ndarray,
    extent: tuple[float, float, float, float],
    norm: Normalize,
    colours: str = DENSITY_MAP,
    nothing: str = "#440154",
) -> None:
    """A density [bins, bins] over ``extent`` (left, right, bottom, top), in a square panel, of the
    colour ``nothing`` where it is NaN.
    """
    ax.imshow(
        values.T,
        origin="lower",
        extent=extent,
        aspect="auto",
        cmap=colours,
        norm=norm,
        interpolation="none",
    )
    ax.set(box_aspect=1, facecolor=nothing)
    ax.grid(False)
