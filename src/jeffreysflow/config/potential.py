"""Configuration of the target energy, its base distribution and its exact reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jeffreysflow.config.molecule import STRUCTURE_FILES, AseConfig, MoleculeConfig
from jeffreysflow.config.section import Section, check_interval, check_sobol_sizes, checked_name
from jeffreysflow.errors import shown

__all__ = ["BaseConfig", "PotentialConfig", "TruthConfig"]

_OF_FIT = {"kind", "reference", "level", "components", "circle_components", "couplings"}
"""Of a base: what its fit takes."""
_ENERGIES = Path(__file__).parents[1] / "potentials" / "energies"


class PotentialConfig(Section):
    """The target energy: one that comes with the package (`name`), a user's file (`file`), or that
    of another program (`molecule`, `ase`)."""

    name: str | None = None
    """Name of an energy of the package."""
    file: str | None = None
    """Python file with `dimension` and `energy(x)`, `energy_and_gradient(x)`, or of a sum
    `energy_terms` with `terms` or a `data` file; relative to the experiment file. Modules beside it
    may be imported by it."""
    files: list[str] = Field(default_factory=list)
    """Data that the file, or a calculator of ASE, reads, relative to the experiment file. Those
    that a file opens by Python when it is imported and first evaluated are found without being
    named here."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of a named energy."""
    molecule: MoleculeConfig | None = None
    """A molecule with a force field."""
    ase: AseConfig | None = None
    """Atoms with a calculator of ASE."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes that evaluate an energy of one configuration at a time (`per_sample = True` in the
    file, `evaluate: openmm`, `ase`), of every rank; has no influence on results."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        return name if name is None else checked_name("potential", name, [_ENERGIES])

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = ("name", "file", "molecule", "ase")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError(
                "give either 'name' (an energy of the package) or 'file' (your own), 'molecule' or "
                "'ase'"
            )
        if self.file is None and self.ase is None and self.files:
            raise ValueError("'files' belong to a 'file' of your own or to 'ase', which read them")
        if self.name is None and self.parameters:
            raise ValueError("'parameters' belong to a named energy; put them into your file")
        batched = self.molecule is not None and not self.through_program
        if (self.name is not None or batched) and self.workers > 1:
            raise ValueError(
                "'workers' belong to a 'file' of your own, to a molecule with 'evaluate: openmm', "
                "or to 'ase'"
            )
        return self

    @property
    def structure(self) -> MoleculeConfig | AseConfig | None:
        """The section of a molecule, whatever evaluates it."""
        return self.molecule or self.ase

    @property
    def through_program(self) -> bool:
        """Whether another program computes it, one configuration at a time."""
        of_molecule = (
            isinstance(self.molecule, MoleculeConfig) and self.molecule.evaluate == "openmm"
        )
        return self.ase is not None or of_molecule

    @property
    def title(self) -> str:
        """How messages and the report call it."""
        if self.structure is None:
            return self.file or f"potential '{self.name}'"
        return "potential.molecule" if self.ase is None else "potential.ase"

    def hashed(self) -> dict[str, Any]:
        """All that determines its values but files, of which digests are kept elsewhere."""
        places: dict[str, Any] = {"file": True, "files": True, "workers": True}
        for kind in ("molecule", "ase"):
            section = getattr(self, kind)
            places[kind] = True if section is None else STRUCTURE_FILES
        section = self.model_dump(exclude=places)
        if isinstance(self.ase, AseConfig):
            section["ase"] |= self.ase.without_places()
        return section


class BaseConfig(Section):
    """The base distribution: Gaussian or Student's t where Euclidean, uniform where periodic, and
    between walls what `walls` says."""

    mean: float | list[float] = 0.0
    """Mean of the Euclidean coordinates, or location where there are tails: one number, or one a
    coordinate."""
    sd: float | list[float] = 1.0
    """Standard deviation of the Euclidean coordinates, or scale where there are tails: one number,
    or one a coordinate."""
    tails: float | None = Field(default=None, ge=1)
    """Degrees of freedom of Student's t for the Euclidean coordinates, for a target whose density
    falls as a power of the distance: nu where it falls as |x|^-(nu + 1), or less; below 2 nu - 2 m
    for averages of |x|^m. Without, they are Gaussian."""
    walls: Literal["uniform", "truncated"] = "uniform"
    """Of coordinates between walls: `uniform`, or `truncated`, the Gaussian of `mean` and `sd` as
    far as it lies between them."""

    kind: Literal["independent", "fitted"] = "independent"
    """`independent` coordinates; or `fitted` to the samples of a reference on the power path: a
    mixture of Gaussians with full covariances, whose means follow the angles of circles, and on
    these von Mises densities, of pairs of them where they go together. With it the keys above only
    say where tempering starts."""
    reference: str | None = None
    """Of a fitted base: the reference; the only one if it is left out."""
    level: Literal["auto", "first", "last"] = "auto"
    """Of a fitted base: which level of it, that of the target (`last`) or the hottest (`first`);
    `auto`: for every flow the one that it goes to first, so that there may be one of each."""
    components: int = Field(default=8, ge=1, le=32)
    """Of a fitted base: Gaussians at most; as many as held-out samples gain by."""
    circle_components: int = Field(default=32, ge=1, le=32)
    """Of a fitted base: von Mises densities a group of circles at most."""
    couplings: list[tuple[str, str]] | Literal["auto"] = "auto"
    """Of a fitted base: pairs of coordinates on circles that have one density together, e.g.
    `[[x3, x4]]`; `auto`: those that know most of each other."""

    def hashed(self) -> dict[str, Any]:
        """All that determines a law that is not fitted; a uniform one between walls is not said."""
        without = {"walls"} if self.walls == "uniform" else set()
        return self.model_dump(exclude=_OF_FIT | without)

    def fit(self, level: str) -> dict[str, Any]:
        """All that determines the law that is fitted to a level, beside the samples."""
        return self.model_dump(include=_OF_FIT) | {"level": level}

    @model_validator(mode="after")
    def _fit_has_its_keys(self) -> Self:
        given = sorted(self.model_fields_set & (_OF_FIT - {"kind"}))
        if self.kind != "fitted" and any(
            getattr(self, key) != type(self).model_fields[key].default for key in given
        ):
            raise ValueError(f"{given[0]} belongs to kind: fitted")
        if self.couplings != "auto":
            parts = [part for pair in self.couplings for part in pair]
            bad = [part for part in parts if not re.fullmatch(r"x[1-9]\d*", part)]
            if bad or len(set(parts)) < len(parts):
                raise ValueError(
                    "couplings: pairs of coordinates x1, x2, ..., each in one pair at most; found "
                    f"{shown([list(pair) for pair in self.couplings])}"
                )
        return self

    @field_validator("mean", "sd")
    @classmethod
    def _not_empty(cls, values: float | list[float]) -> float | list[float]:
        if values == []:
            raise ValueError("must be a number, or one a coordinate; found []")
        return values

    @field_validator("sd")
    @classmethod
    def _positive(cls, sd: float | list[float]) -> float | list[float]:
        values = sd if isinstance(sd, list) else [sd]
        if not all(value > 0 for value in values):
            raise ValueError(f"must be positive, found {sd}")
        return sd


class TruthConfig(Section):
    """How exact values are obtained. Leave the section out when there are none."""

    method: Literal["quadrature", "exact_map"] = "quadrature"
    """`quadrature`: a tensor grid in one or two dimensions; `exact_map`: scrambled Sobol points
    through the exact map of an energy that has one."""
    box: list[tuple[float, float]] | None = None
    """Integration interval of each Euclidean coordinate (others use their own). What lies
    outside counts as an error; too much, and there are no exact values."""
    levels: bool = False
    """Exact values at every level of the fixed ladders too, for the bias of references and of
    sequences there (`quadrature` only)."""
    points: int = Field(default=1024, ge=16, le=8192)
    """Grid points a coordinate. Exact values exist where so coarse a grid resolves the density."""
    samples: int = Field(default=1 << 20, ge=2)
    """Sobol points of the exact map."""
    scramblings: int = Field(default=32, ge=2)
    """Independent scramblings of the Sobol points, for errors."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.method == "exact_map":
            if self.levels:
                raise ValueError("'levels' belongs to method 'quadrature': no map goes to a level")
            if self.box is not None:
                raise ValueError("'box' belongs to method 'quadrature'; 'exact_map' needs none")
            check_sobol_sizes("exact_map", self.samples, self.scramblings)
        if self.box is not None and not 1 <= len(self.box) <= 2:
            raise ValueError(f"box: one interval a coordinate, 1 or 2, found {len(self.box)}")
        for i, (lower, upper) in enumerate(self.box or ()):
            check_interval(f"box of x{i + 1}: ", lower, upper, self.points)
        return self
