"""What is averaged over every set of samples: observables, regions, bins of the profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.beyond_period import beyond_period
from jeffreysflow.estimation.observables import (
    Named,
    Observable,
    observable_values,
    parse_observable,
    parse_observables,
)
from jeffreysflow.estimation.profiles import Profile
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.tables import REGION

__all__ = ["Measured", "build_measured"]


@dataclass(frozen=True)
class Measured:
    """The observables of an experiment, its named regions, and its profiles: being in a region, or
    in a bin, is an observable too.
    """

    observables: Sequence[Observable]
    profiles: Sequence[Profile]
    regions: Sequence[Observable] = ()
    """Events called `region:<name>`."""

    @property
    def all(self) -> list[Observable]:
        """The observables, the regions, then the bins of each profile in turn."""
        return [*self._single, *(bin for part in self.profiles for bin in part.indicators())]

    @property
    def _single(self) -> list[Observable]:
        return [*self.observables, *self.regions]

    @property
    def bin_names(self) -> list[str]:
        """The names of the bins of each profile in turn."""
        return [f"profile:{part.name}:{i}" for part in self.profiles for i in range(part.bins)]

    @property
    def uses_energy(self) -> bool:
        """Whether any value depends on the energy of a sample."""
        functions = [*self._single, *(profile.observable for profile in self.profiles)]
        return any(function.uses_energy for function in functions)

    def values(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """All of them [n, all] for samples ``x`` [n, d] of target energy ``U`` [n], kT."""
        parts = [observable_values(self._single, x, U)]
        return torch.cat([*parts, *(profile.values(x, U) for profile in self.profiles)], dim=1)

    def values_where_finite(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """The same, with NaN in the columns of what is not finite somewhere."""
        try:
            return self.values(x, U)
        except UserError:
            columns = []
            for of in self.all:
                try:
                    columns.append(of(x, U))
                except UserError:
                    columns.append(U.new_full((len(U),), torch.nan))
            return torch.stack(columns, dim=1)

    def of_observables(self, values: torch.Tensor) -> torch.Tensor:
        """The part of values [all] that belongs to the observables."""
        return values[: len(self.observables)]

    def of_regions(self, values: torch.Tensor) -> torch.Tensor:
        """The part of values [all] that belongs to the regions."""
        return values[len(self.observables) : len(self._single)]

    def of_profiles(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The parts of values [all] that belong to each profile, [bins] each."""
        bins = [profile.bins for profile in self.profiles]
        return list(torch.split(values[len(self._single) :], bins))


_SO_MANY_PERIODS = 2.0


def build_measured(experiment: Experiment, potential: Potential) -> Measured:
    """Observables and profiles: expressions, or functions of the potential file. None of the low
    modes of a ring polymer: what is measured are averages over all its beads.

    Raises
    ------
    UserError : one is neither, with its position and the nearest valid name; or a region is no
        comparison.
    """
    if isinstance(potential, RingPolymer):
        return Measured((), ())
    named, d = getattr(potential, "observables", {}), potential.dimension
    intervals = _intervals(potential)
    for text in experiment.observables:
        if wrong := beyond_period(text, intervals):
            raise UserError(f"observable '{text}': {wrong}")
    for name, text in experiment.regions.items():
        if wrong := beyond_period(text, intervals):
            raise UserError(f"regions.{name}: {wrong}")
    for i, part in enumerate(experiment.profiles):
        lower, upper = intervals.get(part.expression.strip(), (-math.inf, math.inf))
        if part.upper - part.lower > _SO_MANY_PERIODS * (upper - lower):
            raise UserError(
                f"profiles[{i}]: {part.expression} is from {lower:.3g} to {upper:.3g}, the profile "
                f"from {part.lower:g} to {part.upper:g}; angles are in radian"
            )
    return Measured(
        parse_observables(experiment.observables, d, named),
        [
            Profile(parse_observable(part.expression, d, named), part.lower, part.upper, part.bins)
            for part in experiment.profiles
        ],
        [_region(name, text, d, named) for name, text in experiment.regions.items()],
    )


def _intervals(potential: Potential) -> dict[str, tuple[float, float]]:
    """Where periodic coordinates and observables lie, by name."""
    periods = enumerate(potential.domain.periods, 1)
    circles = {f"x{i}": period for i, period in periods if period is not None}
    return circles | dict(getattr(potential, "observable_intervals", {}))


def _region(
    name: str,
    text: str,
    d: int,
    named: Mapping[str, Named],
) -> Observable:
    try:
        inside = parse_observable(text, d, named)
    except UserError as error:
        raise UserError(f"regions.{name}: {error}") from None
    if inside.is_event is False:
        raise UserError(
            f"regions.{name}: '{text}' is no comparison, such as '0 < x1 < 1', with 'and', 'or'"
        )

    def is_inside(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        value = inside(x, U)
        if not bool(((value == 0) | (value == 1)).all()):
            raise UserError(f"regions.{name}: '{text}' must be 0 or 1, found other values")
        return value

    return Observable(f"{REGION}{name}", is_inside, True, inside.uses_energy)
