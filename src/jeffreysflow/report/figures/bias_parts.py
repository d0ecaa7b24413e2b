"""What the bias of noisy tempering is made of, level by level."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure

from jeffreysflow.config import Experiment
from jeffreysflow.report.bias_parts import BiasParts, bias_parts
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import GREY, PALETTE, in_columns

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "What the bias of a reference is made of, by level: references that have one source of bias "
    "more each, the first being the discretisation of the kernel. A part is the difference of two "
    "references in the direction of the whole, so that the parts add up to it; bars are standard "
    "errors. The dashed line is what sampling noise alone would show."
)
SECTION = "references"
ORDER = 30

_HEIGHT = 2.1


def applies(experiment: Experiment) -> bool:
    return bool(experiment.bias_parts)


def draw(data: ExperimentData) -> Figure:
    named = data.experiment.bias_parts
    figure, panels = in_columns(len(named), _HEIGHT, wide=False)
    for panel, (name, parts) in zip(panels, named.items(), strict=True):
        panel.suptitle(name, fontsize=7.5, x=0.02, ha="left")
        _stack(panel, data, list(parts), bias_parts(data, parts), list(parts.values()))
    return figure


def _stack(
    panel: SubFigure,
    data: ExperimentData,
    names: list[str],
    levels: list[BiasParts | None],
    references: list[str],
) -> None:
    ax = panel.subplots()
    known = [(k, at) for k, at in enumerate(levels) if at is not None]
    where = np.array([k for k, _ in known], dtype=float)
    width = 0.8 / max(len(names) + 1, 1)
    for j, name in enumerate([*names, "in all"]):
        heights = [100 * (at.total if j == len(names) else at.parts[j]) for _, at in known]
        errors = [100 * (at.error if j == len(names) else at.errors[j]) for _, at in known]
        colour = "black" if j == len(names) else PALETTE[j % len(PALETTE)]
        offset = (j - len(names) / 2) * width
        ax.bar(where + offset, heights, width, yerr=errors, color=colour, label=name, error_kw=_BAR)
    for k, at in known:
        ax.hlines(100 * at.sampling, k - 0.45, k + 0.45, colors=GREY, linestyles="dashed")
    ladder = data.ladder(references[0])
    labels = [f"{ladder[k]:.3g}" if k < len(ladder) else str(k) for k, _ in known]
    ax.set(xlabel="λ", ylabel="bias × 100", xticks=where)
    ax.set_xticklabels(labels)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.legend(fontsize=6, frameon=False)


_BAR = {"elinewidth": 0.7, "ecolor": GREY}
