"""Names of experiments, references and flows: folders and files are called by them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jeffreysflow.errors import shown

__all__ = ["check_names"]

_LONGEST = 100
"""Characters; a file system holds 255, Slurm's logs have an experiment and a flow in one name."""

_IN_RESULTS = (
    *("report.html", "summary.csv", "costs.csv", "report.log", "paper.html", "paper.log"),
    *("usage", "README.md"),
)
"""What lies beside the folders of the experiments."""


def check_names(experiment: str, others: Iterable[str]) -> None:
    """Whether an experiment and what it holds can have folders of their names.

    Raises
    ------
    ValueError : other characters, too many, or the name of something else in the results folder.
    """
    for name in (experiment, *others):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(
                f"name {shown(name)} may hold only letters, digits, '_', '.' and '-', and begins "
                "with a letter or digit"
            )
        if len(name) > _LONGEST:
            raise ValueError(f"name {shown(name)} has {len(name)} characters; allowed: {_LONGEST}")
    if experiment.lower() in map(str.lower, _IN_RESULTS):
        raise ValueError(
            f"name '{experiment}' is that of something else in the results folder "
            f"({', '.join(_IN_RESULTS)}); rename the file"
        )
