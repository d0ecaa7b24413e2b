"""One look for every figure: widths, fonts, colours, and files that depend on the data alone."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure

__all__ = [
    "COLUMN_WIDTH",
    "DENSITY_MAP",
    "FULL_WIDTH",
    "GREY",
    "LEVEL_MAP",
    "PALETTE",
    "PUBLISHED",
    "SOURCES",
    "in_columns",
    "look",
    "new_figure",
    "plain_log_ticks",
    "rendered",
    "theta_colour",
]

COLUMN_WIDTH = 3.4
FULL_WIDTH = 7.0
"""Widths in inches of a column and of a page; fonts are set for these."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito (2008), without yellow, which vanishes on white."""

SOURCES = {
    "reference": (PALETTE[1], "s"),
    "ensemble": (PALETTE[0], "o"),
    "generated": (PALETTE[2], "^"),
}
"""Colour and marker of what a distribution is estimated from."""

GREY = "#555555"
"""Lines to compare with: limits, noise floors."""

PUBLISHED: dict[str, Any] = {
    "marker": "*",
    "markeredgecolor": "black",
    "markerfacecolor": "none",
    "markeredgewidth": 0.8,
    "markersize": 8,
    "linestyle": "none",
    "zorder": 4,
    "clip_on": False,
}
"""How published values are marked."""

DENSITY_MAP = "viridis"
LEVEL_MAP = ListedColormap(matplotlib.colormaps["cividis_r"](np.linspace(0.12, 1, 256)))
"""From low levels to high; without the yellow end, which vanishes on white."""

_LOOK: dict[Any, Any] = {
    # text stays text: small files, searchable, sharp
    "svg.fonttype": "none",
    "svg.hashsalt": "jeffreysflow",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw and save inside this context."""
    with matplotlib.rc_context(_LOOK):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def in_columns(count: int, height: float, wide: bool = False) -> tuple[Figure, list[SubFigure]]:
    """A figure of ``count`` parts, each ``height`` inches tall: two beside each other, one alone
    in a column (in the whole page if ``wide``).
    """
    columns = min(count, 2)
    rows = math.ceil(count / 2)
    figure = new_figure(FULL_WIDTH if columns > 1 or wide else COLUMN_WIDTH, rows * height)
    parts = figure.subfigures(rows, columns, squeeze=False)
    return figure, list(parts.ravel()[:count])


def theta_colour(theta: float | str) -> str:
    """A dark-to-light colour for theta in [0, 1], ordered also in grey; one off this scale for a
    theta that is chosen automatically.
    """
    if isinstance(theta, str):
        return PALETTE[1]
    return str(matplotlib.colors.to_hex(matplotlib.colormaps["viridis"](0.9 * theta)))


def plain_log_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain text, which SVG viewers set in any font."""
    low, high = axis.get_view_interval()
    digits = "2346" if high < 8 * low else "25" if high < 30 * low else ""
    axis.set_major_formatter(lambda value, _: _plain(value))
    axis.set_minor_formatter(
        lambda value, _: _plain(value) if f"{value:e}"[0] in digits else "",
    )


def _plain(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def rendered(figure: Figure) -> dict[str, bytes]:
    """The figure's files by suffix; equal figures give equal bytes."""
    figure.draw_without_rendering()
    # without the engine nothing is drawn once more to be laid out
    figure.set_layout_engine(None)
    files = {}
    for suffix, metadata in (
        ("svg", {"Date": None, "Creator": None}),
        ("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        files[suffix] = buffer.getvalue()
    # Verdana has the widths of DejaVu Sans, which few machines without Linux have
    files["svg"] = files["svg"].replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")
    return files
