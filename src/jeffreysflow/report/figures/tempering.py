"""Did tempering mix? Swaps, barrier, R-hat and effective sizes by level."""

from __future__ import annotations

import math
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import FULL_WIDTH, GREY, PALETTE, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Tempering of each reference. From the left: rejection of swaps between neighbouring levels "
    "(equal bars are best); the cumulative communication barrier along the ladder, a point a "
    "level; the largest split R-hat of the energy and the coordinates, dashed the limit 1.05; "
    "the smallest effective sample size of these as a share of the recorded samples. Round "
    "trips are counted per ladder and swap round."
)
SECTION = "references"
ORDER = 10


def applies(experiment: Experiment) -> bool:
    return True


def draw(data: ExperimentData) -> Figure:
    references = list(data.experiment.references)
    figure = new_figure(FULL_WIDTH, 1.85 * len(references))
    parts = figure.subfigures(len(references), 1, squeeze=False)[:, 0]
    for part, reference, colour in zip(parts, references, cycle(PALETTE), strict=False):
        part.suptitle(_title(data, reference), fontsize=7.5, x=0.01, ha="left")
        rejection, barrier, rhat, ess = part.subplots(1, 4)
        pairs = 1 - np.array(data.diagnostic(reference, "pair", "swap_acceptance"))
        rejection.bar(np.arange(1, len(pairs) + 1), pairs, color=colour, width=0.8)
        rejection.set(xlabel="pair k-1, k", ylabel="swap rejection", ylim=(0, 1))
        rejection.set_xlim(0.3, len(pairs) + 0.7)
        mark = {"marker": "o", "markersize": 4 if len(pairs) <= 12 else 2.2, "color": colour}
        lam = data.ladder(reference)
        barrier.plot(lam, data.diagnostic(reference, "level", "barrier"), **mark)
        barrier.set(xlabel="λ", ylabel="barrier", xlim=(-0.03, 1.03))
        worst = _by_level(data, reference, "rhat")
        rhat.plot(np.arange(len(worst)), [max(row) for row in worst], **mark)
        rhat.axhline(1.05, color=GREY, linestyle="--", linewidth=0.8)
        rhat.set(xlabel="level", ylabel="largest R-hat")
        samples = data.experiment.references[reference].samples
        least = _by_level(data, reference, "ess")
        share = [100 * min(row) / samples for row in least]
        ess.plot(np.arange(len(least)), share, **mark)
        ess.set(xlabel="level", ylabel="smallest ESS (%)")
        ess.set_ylim(0, 1.08 * np.nanmax([*share, 1.0]))
        for ax in (rejection, rhat, ess):
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


def _title(data: ExperimentData, reference: str) -> str:
    parts = [reference]
    quantities = ("round_trip_rate", "round_trip_rate_predicted")
    rates = [data.diagnostic(reference, "run", quantity) for quantity in quantities]
    if all(rates):
        parts.append(f"round trips {rates[0][0]:.3g} measured, {rates[1][0]:.3g} predicted")
    if total := data.diagnostic(reference, "run", "barrier"):
        parts.append(f"barrier {total[0]:.3g}")
    return " · ".join(parts)


def _by_level(data: ExperimentData, reference: str, quantity: str) -> list[list[float]]:
    """The finite values of a quantity over all series, level by level."""
    levels: dict[int, list[float]] = {}
    for row in data.diagnostics.get(reference, ()):
        if row.scope == "level" and row.quantity == quantity and row.level is not None:
            found = levels.setdefault(row.level, [])
            if math.isfinite(row.value):
                found.append(row.value)
    return [values or [math.nan] for _, values in sorted(levels.items())]
