"""Configuration of a reference whose samples are there already."""

from __future__ import annotations

import math
from itertools import chain, pairwise
from statistics import median
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jeffreysflow.config.published import OF_REFERENCE, check_published
from jeffreysflow.config.section import Section
from jeffreysflow.errors import shown

__all__ = ["FoundFile", "SampleFiles", "SamplesConfig"]

_SHORT = 0.1
"""Of the median length, as within a file: a trajectory that others are not cut to."""


class FoundFile(Section):
    """What a file of samples was seen to hold when the experiment was resolved."""

    digest: str
    """Hash of its bytes."""
    draws: int = Field(ge=1)
    """Draws of each trajectory in it."""
    walkers: int = Field(ge=1)
    """Trajectories in it."""
    weights: str | None = None
    """Hash of the bytes of the file of its log weights, if it has one."""


class SampleFiles(Section):
    """The samples of one level."""

    file: str | list[str]
    """One file, or several, of independent trajectories each; relative to the experiment file. By
    their ending: `.npz` and `.npy` of numpy, `.parquet`, `.zarr` of a run of ours; `.dcd`, `.xtc`,
    `.trr` and `.nc` with frames of a molecule, `.traj` and `.extxyz` of ASE."""
    log_weights: str | list[str] | None = None
    """Of files that have no place for weights, as frames of a molecule: a file with the log weight
    of each frame, or one for each of several files. `.csv` with a column `log_weight`, as the
    command `frames` writes it, `.npy`, or `.npz` with an array `log_weights`."""
    temperature: float | None = Field(default=None, gt=0)
    """Of these samples, in the unit of the reference's `temperature`: lambda is their ratio."""
    lam: float | None = Field(default=None, gt=0, le=1)
    """Or lambda itself."""
    level: int | None = Field(default=None, ge=0)
    """Of a store of levels: which one."""
    found: list[FoundFile] = Field(default_factory=list)
    """What is in the files; found when the experiment is resolved, not to be given."""

    @property
    def files(self) -> list[str]:
        """One file or several, as a list."""
        return [self.file] if isinstance(self.file, str) else list(self.file)

    @property
    def weights(self) -> list[str] | list[None]:
        """Of each file that of its log weights, or None."""
        if self.log_weights is None:
            return [None] * len(self.files)
        return [self.log_weights] if isinstance(self.log_weights, str) else self.log_weights

    @field_validator("file")
    @classmethod
    def _not_empty(cls, file: str | list[str]) -> str | list[str]:
        if not file:
            raise ValueError("must name a file, or several; found none")
        return file

    @model_validator(mode="after")
    def _weights_of_each_file(self) -> Self:
        if len(self.weights) != len(self.files):
            raise ValueError(
                f"log_weights: one file for each of {len(self.files)}, found {len(self.weights)}"
            )
        return self

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.temperature is None) == (self.lam is None):
            raise ValueError("give either 'temperature' or 'lam'")
        return self


class SamplesConfig(Section):
    """Samples of the target, and of hotter levels, that something else has drawn: a file a level.

    All that follows tempering works from them.
    """

    kind: Literal["samples"]
    """Samples that are there already."""
    path: Literal["power", "annealed"] = "power"
    """What they are samples of: `power`, lambda U_M, which is the target at the temperature
    T_0 / lambda; or `annealed`, (1 - lambda) U_0 + lambda U_M, whose level at lambda = 0 is drawn
    from the base and has no file."""
    temperature: float | None = Field(default=None, gt=0)
    """T_0, that of the target, in any unit of temperature; where files tell their own."""
    files: list[SampleFiles] = Field(min_length=1)
    """The files of each level, the hottest first, the target's last."""
    energies: Literal["kT", "kJ/mol", "kcal/mol", "eV"] = "kT"
    """Unit of the energies U_M in the files, where there are any; they are compared with the
    experiment's. All but kT need `temperature`, in kelvin."""
    discard: int = Field(default=0, ge=0)
    """Draws at the beginning of every trajectory that are left out."""
    thin: int = Field(default=1, ge=1)
    """Of the others, take every n-th."""
    exact: bool = True
    """Whether what drew them has the target as its invariant law; false for Langevin steps without
    acceptance, where a flow of sound weights that disagrees need not be the one who errs, but for
    the populations of named regions, whose disagreement is grave with any reference."""
    published: dict[str, float] = Field(default_factory=dict)
    """Published values to print beside ours, by quantity."""

    @model_validator(mode="after")
    def _levels_rise_to_the_target(self) -> Self:
        told = [entry.temperature for entry in self.files if entry.temperature is not None]
        if self.temperature is None and told:
            raise ValueError("temperature: that of the target, beside those of the files")
        if self.path == "annealed" and told:
            raise ValueError("files: on the annealed path levels have a 'lam', no temperature")
        if self.temperature is None and self.energies != "kT":
            raise ValueError(f"energies: {self.energies} needs 'temperature', in kelvin")
        lams = self._lambdas
        if any(b <= a for a, b in pairwise(lams)) or lams[-1] != 1.0:
            raise ValueError(
                "files: from the hottest to the target, lambda must increase strictly to 1, found "
                f"{shown(_told_apart(lams))}"
            )
        check_published(self.published, OF_REFERENCE, "published")
        return self

    @model_validator(mode="after")
    def _files_fit_together(self) -> Self:
        found = [entry.found for entry in self.files]
        if not all(found):
            return self
        digests: dict[tuple[str, int | None], str] = {}
        for entry in self.files:
            for name, each in zip(entry.files, entry.found, strict=True):
                key = each.digest, entry.level
                if key in digests:
                    raise ValueError(
                        f"files: {shown(name)} has the same content as {shown(digests[key])}: "
                        "the samples of one level, or one trajectory, are there twice"
                    )
                digests[key] = name
        walkers = [sum(each.walkers for each in level) for level in found]
        if len(set(walkers)) > 1:
            raise ValueError(
                f"files: every level needs as many trajectories, found {shown(walkers)}"
            )
        lengths = [each.draws for level in found for each in level]
        shortest, usual = min(lengths), median(lengths)
        if shortest < _SHORT * usual:
            names = chain.from_iterable(entry.files for entry in self.files)
            name = next(name for name, n in zip(names, lengths, strict=True) if n == shortest)
            raise ValueError(
                f"files: {shown(name)} has {shortest} draws, others {usual:g}; all are cut to the "
                "shortest: leave it out"
            )
        if self.draws < 1:
            raise ValueError(
                f"discard: nothing is left of {self._shortest} draws without {self.discard}"
            )
        return self

    @property
    def _lambdas(self) -> list[float]:
        """Of the files, in their order."""
        T_0 = self.temperature or math.nan
        return [
            entry.lam if entry.temperature is None else T_0 / entry.temperature  # type: ignore[misc]
            for entry in self.files
        ]

    @property
    def lambdas(self) -> tuple[float, ...]:
        """Of all levels, the one drawn from the base included."""
        return (*((0.0,) if self.path == "annealed" else ()), *self._lambdas)

    @property
    def _shortest(self) -> int:
        return min(each.draws for each in chain.from_iterable(e.found for e in self.files))

    @property
    def draws(self) -> int:
        """Draws a trajectory at every level: as many as the shortest has."""
        return max(-(-(self._shortest - self.discard) // self.thin), 0)

    @property
    def walkers(self) -> int:
        """Independent trajectories at every level."""
        return sum(each.walkers for each in self.files[-1].found)

    @property
    def samples(self) -> int:
        """Samples of each level."""
        return self.walkers * self.draws

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.lambdas)

    @property
    def most_levels(self) -> int:
        """The same."""
        return self.levels

    @property
    def target(self) -> Literal["potential"]:
        """U_M is the potential itself."""
        return "potential"

    def hashed(self) -> dict[str, Any]:
        """All that determines the levels: of files their content, not where they lie."""
        section = self.model_dump(exclude={"published"})
        for entry in section["files"]:
            entry.pop("file")
            entry.pop("log_weights")
        return section


def _told_apart(lams: list[float]) -> list[float]:
    """With six digits, or with all where these would hide what differs.

    >>> _told_apart([1 / 3, 1.0]), _told_apart([1 / 3, 1 - 1e-9])
    ([0.333333, 1.0], [0.3333333333333333, 0.999999999])
    """
    short = [float(f"{lam:.6g}") for lam in lams]
    same = len(set(short)) < len(set(lams)) or (short[-1] == 1.0) != (lams[-1] == 1.0)
    return lams if same else short
