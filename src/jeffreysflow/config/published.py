"""Names of published values: those that the report shows beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jeffreysflow.errors import allowed_names, shown

__all__ = ["BY_LEVEL", "OF_FLOW", "OF_REFERENCE", "check_published"]

OF_REFERENCE = ("bias", "log_z")
OF_FLOW = ("ess", "amortised_ess", "cess", "cess_identity", "bias", "log_z", "bias@<samples>")
BY_LEVEL = ("ess", "cess", "cess_identity")


def check_published(names: Iterable[str], known: Iterable[str], key: str) -> None:
    """
    Raises
    ------
    ValueError : a name that nothing is shown beside.
    """
    known = list(known)
    for name in names:
        sized = "bias@<samples>" in known and re.fullmatch(r"bias@[1-9][0-9]{0,17}", name)
        if not sized and (name not in known or "<" in name):
            raise ValueError(f"{key}: unknown key {shown(name)}; {allowed_names(name, known)}")
