"""The figures of an experiment. A new figure is one new file here, found by its name.

Each module has ``CAPTION``, ``SECTION`` (where the page shows it: ``results``, ``references`` or
``flows``), ``ORDER`` within it, ``applies(experiment)``, decided from the configuration alone so
that the workflow can declare its files, and ``draw(data)``.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.discovery import names_in
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import look, rendered

__all__ = ["FigureModule", "figure", "figure_files", "figure_names"]

SECTIONS = ("results", "references", "flows")


class FigureModule(Protocol):
    """What a module in this folder defines."""

    CAPTION: str
    SECTION: str
    ORDER: int

    @staticmethod
    def applies(experiment: Experiment) -> bool:
        """Whether the experiment has this figure."""

    @staticmethod
    def draw(data: ExperimentData) -> Figure:
        """Draw it; empty or missing tables leave parts of it blank."""


def figure(name: str) -> FigureModule:
    """The module of a figure."""
    return cast(FigureModule, importlib.import_module(f"{__name__}.{name}"))


def figure_names(experiment: Experiment) -> list[str]:
    """The figures of an experiment, in the order they are shown."""
    modules = {name: figure(name) for name in names_in(__path__)}
    names = [name for name, module in modules.items() if module.applies(experiment)]
    return sorted(names, key=lambda name: _place(name, modules[name]))


def figure_files(name: str, data: ExperimentData) -> dict[str, bytes]:
    """Draw a figure; its files by suffix (svg, pdf)."""
    with look():
        return rendered(figure(name).draw(data))


def _place(name: str, module: FigureModule) -> tuple[int, int, str]:
    return SECTIONS.index(module.SECTION), module.ORDER, name
