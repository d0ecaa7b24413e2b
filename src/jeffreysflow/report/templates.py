"""What pages share: how templates are filled in, and pictures inside of a page."""

from __future__ import annotations

import base64
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["inline", "rendered_page"]

_PIXELS_A_POINT = 1.8


def rendered_page(template: str, **values: Any) -> str:
    """A template of this package, with all texts escaped."""
    environment = Environment(
        loader=PackageLoader("jeffreysflow.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def inline(svg: bytes) -> dict[str, object]:
    """``svg`` in base64 and its ``width`` in pixels, larger than in print."""
    points = re.search(rb'<svg[^>]* width="([0-9.]+)pt"', svg)
    width = round(float(points.group(1)) * _PIXELS_A_POINT) if points else None
    return {"svg": base64.b64encode(svg).decode(), "width": width}
