"""Where everything about an experiment lies under the results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FlowLayout", "Layout", "ReferenceLayout", "page_usage"]


@dataclass(frozen=True)
class ReferenceLayout:
    """The files of one tempering reference."""

    folder: Path

    @property
    def replicas(self) -> Path:
        """Folder with `store.zarr`, `checkpoint/` and `done.json`."""
        return self.folder / "replicas"

    @property
    def ladder(self) -> Path:
        """What a pilot suggests, its record at the same time."""
        return self.folder / "ladder.json"

    @property
    def levels(self) -> Path:
        """Folder with `store.zarr` and `done.json`."""
        return self.folder / "levels"

    @property
    def diagnostics(self) -> Path:
        return self.folder / "diagnostics.csv"

    @property
    def estimates(self) -> Path:
        return self.folder / "estimates.csv"

    @property
    def profiles(self) -> Path:
        return self.folder / "profiles.csv"

    @property
    def temperatures(self) -> Path:
        """Averages along the ladder by samples of all its levels."""
        return self.folder / "temperatures.csv"


@dataclass(frozen=True)
class FlowLayout:
    """The files of one flow."""

    folder: Path

    def level(self, k: int) -> Path:
        """Folder of level ``k`` = 1..K with flow, history, ensemble and `done.json`."""
        return self.folder / f"level_{k}"

    @property
    def generated(self) -> Path:
        """Folder with `store.zarr` and `done.json`."""
        return self.folder / "generated"

    @property
    def estimates(self) -> Path:
        return self.folder / "estimates.csv"

    @property
    def profiles(self) -> Path:
        return self.folder / "profiles.csv"

    @property
    def beads(self) -> Path:
        return self.folder / "beads.csv"

    @property
    def convergence(self) -> Path:
        return self.folder / "convergence.csv"


def page_usage(results: Path) -> Path:
    """Folder of what the page of a results folder has used."""
    return results / "usage" / "report"


@dataclass(frozen=True)
class Layout:
    """The files of one experiment."""

    results: Path
    experiment: str

    @property
    def folder(self) -> Path:
        return self.results / self.experiment

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    def base(self, level: str) -> Path:
        """Folder of a base fitted to a level, with `base.safetensors` and `done.json`."""
        return self.folder / "base" / level

    @property
    def truth(self) -> Path:
        return self.folder / "truth.csv"

    @property
    def level_truth(self) -> Path:
        return self.folder / "level_truth.csv"

    @property
    def bead_truth(self) -> Path:
        return self.folder / "bead_truth.csv"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    def usage(self, stage: str, of: str, level: int | None = None) -> Path:
        """Folder of what a stage used for a reference or flow, or for `all`."""
        folder = self.folder / "usage" / stage / of
        return folder if level is None else folder / f"level_{level}"

    def reference(self, name: str) -> ReferenceLayout:
        return ReferenceLayout(self.folder / "references" / name)

    def flow(self, name: str) -> FlowLayout:
        return FlowLayout(self.folder / "flows" / name)

    @classmethod
    def of_config(cls, config: Path) -> Layout:
        """The layout around a resolved `results/x/config.json`."""
        return cls(config.parent.parent, config.parent.name)
