"""Figures of an experiment as its page shows them."""

from __future__ import annotations

from jeffreysflow.report.figures import figure
from jeffreysflow.report.page import Picture
from jeffreysflow.stores.figures import read_svg
from jeffreysflow.stores.layout import Layout

__all__ = ["read_picture"]


def read_picture(layout: Layout, name: str) -> Picture:
    """A figure with its caption.

    Raises
    ------
    UserError : it was not drawn.
    """
    module = figure(name)
    return Picture(name, module.SECTION, module.CAPTION, read_svg(layout.figures, name))
