"""`workflow/paper.yaml`: figures and tables of the paper, what makes them, what is published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jeffreysflow.config.loading import validated
from jeffreysflow.config.section import Section
from jeffreysflow.config.yaml_file import read_yaml
from jeffreysflow.errors import allowed_names, shown

__all__ = [
    "Along",
    "OursConfig",
    "Paper",
    "PaperItem",
    "PaperTable",
    "SeriesConfig",
    "load_paper",
]

Along = Literal["lambda", "last", "samples", "beads"]

_NUMBER = re.compile(r"Figure [1-9][0-9]*|Table [IVXLC]+")

_ESTIMATES = ("ess", "cess", "cess_identity", "amortised_ess", "bias", "noise_floor", "log_z")
QUANTITIES: dict[Along, tuple[str, ...]] = {
    "lambda": _ESTIMATES,
    "last": _ESTIMATES,
    "samples": ("bias_rms", "bias_first", "noise_floor", "ess"),
    "beads": ("distance_from_quantum", "ess_plain", "ess_curvature", "energy"),
}
"""What can be looked up along what: rows of `estimates.csv` (by level, or of the last one), columns
of `convergence.csv`, rows of `beads.csv`."""


class OursConfig(Section):
    """Where our values of a row are found."""

    label: str = "ours"
    """What it is called beside `published`."""
    source: list[str | None] = Field(min_length=1)
    """A flow, `ensemble:<flow>`, `learned:<flow>:<name>` of learned weights or `reference:<name>`;
    or one a position, null where there is none."""
    quantity: str
    """Its name in the table, e.g. `cess`."""
    column: Literal["value", "exact"] = "value"
    """What we estimate, or what is exact."""

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, data: Any) -> Any:
        one = isinstance(data, dict) and isinstance(data.get("source"), str)
        return {**data, "source": [data["source"]]} if one else data

    def at(self, index: int) -> str | None:
        """The source of the value at a position."""
        return self.source[0 if len(self.source) == 1 else index]


class SeriesConfig(Section):
    """What is published of a quantity, position by position, and ours."""

    name: str
    """What it is, e.g. `bias of the reference`."""
    experiment: str | None = None
    """The experiment that makes it, if not that of the table."""
    unit: Literal["number", "percent", "hundredths"] = "number"
    """Of the published values as they are printed; ours are fractions, and are multiplied."""
    decimals: int = Field(default=1, ge=0, le=9)
    """Of published per cent, where the last are zeros; other numbers have three digits."""
    published: list[float | None] = Field(default_factory=list)
    """As printed, by position; null where there is none."""
    resampled_at: list[int] = Field(default_factory=list)
    """Positions, counted from 1, at which the ensemble was resampled; their values are printed in
    brackets."""
    ours: list[OursConfig] = Field(default_factory=list)
    """One row of ours, or several."""

    @property
    def factor(self) -> float:
        """By what ours are multiplied."""
        return 1.0 if self.unit == "number" else 100.0


class PaperTable(Section):
    """Published values and ours along levels, thetas, numbers of samples or of beads."""

    experiment: str | None = None
    """The experiment that makes it, unless a series has its own."""
    along: Along
    """What a position is: `lambda` of a level, a number of `samples` or of `beads`; or `last`,
    where every value is of the last level, and each position has a source of its own."""
    heading: str
    """What positions are called, e.g. `θ`."""
    positions: list[float] = Field(min_length=1)
    """In order."""
    down: bool = False
    """Positions one below another instead of side by side."""
    series: list[SeriesConfig] = Field(min_length=1)
    """What is told at each position."""

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        n = len(self.positions)
        for series in self.series:
            if series.experiment is None and self.experiment is None:
                raise ValueError(f"series {shown(series.name)}: no experiment is named")
            if series.published and len(series.published) != n:
                raise ValueError(
                    f"series {shown(series.name)}: {len(series.published)} published values for "
                    f"{n} positions"
                )
            if any(not 1 <= place <= n for place in series.resampled_at):
                raise ValueError(f"series {shown(series.name)}: resampled_at: from 1 to {n}")
            for ours in series.ours:
                if len(ours.source) not in (1, n):
                    raise ValueError(
                        f"series {shown(series.name)}: {len(ours.source)} sources for {n} positions"
                    )
                self._check_quantity(series.name, ours.quantity)
        return self

    def _check_quantity(self, name: str, quantity: str) -> None:
        known = QUANTITIES[self.along]
        if quantity not in known:
            raise ValueError(
                f"series {shown(name)}: unknown quantity {shown(quantity)} along {self.along}; "
                f"{allowed_names(quantity, known)}"
            )

    def experiment_of(self, series: SeriesConfig) -> str:
        """The experiment that makes a series."""
        return series.experiment or self.experiment or ""


class PaperItem(Section):
    """One figure or table."""

    shows: str
    """What there is to see, in one line."""
    image: str | None = None
    """A drawing of the project, in the place of an experiment's figure."""
    figures: dict[str, list[str]] = Field(default_factory=dict)
    """Our figures, by experiment."""
    tables: list[PaperTable] = Field(default_factory=list)
    """Published values and ours."""
    remark: str | None = None
    """What is published in words, or has to be known to compare."""

    @property
    def experiments(self) -> list[str]:
        """Those it is made from."""
        tabled = [table.experiment_of(series) for table in self.tables for series in table.series]
        return list(dict.fromkeys([*self.figures, *tabled]))


class Paper(Section):
    """All figures and tables, in the order they are shown."""

    source: str
    """What is reproduced."""
    to_come: list[str] = Field(default_factory=list)
    """Experiments that are named below but may not be there yet."""
    items: dict[str, PaperItem] = Field(min_length=1)
    """By number: `Figure 2`, `Table IV`."""

    @field_validator("items")
    @classmethod
    def _are_numbered(cls, items: dict[str, PaperItem]) -> dict[str, PaperItem]:
        for name, item in items.items():
            if not _NUMBER.fullmatch(name):
                raise ValueError(f"{shown(name)}: an item is called 'Figure 2' or 'Table IV'")
            if not (item.image or item.experiments):
                raise ValueError(f"{name}: needs an image, figures or tables")
        return items

    @property
    def experiments(self) -> list[str]:
        """All experiments that something is made from."""
        return list(
            dict.fromkeys(name for item in self.items.values() for name in item.experiments)
        )


def load_paper(file: Path) -> Paper:
    """Read `workflow/paper.yaml`.

    Raises
    ------
    UserError : it cannot be read, or a key or value is wrong.
    """
    return validated(Paper, read_yaml(file), str(file))
