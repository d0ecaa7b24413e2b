"""What is averaged over every set of samples: the observables, and the bins of the profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.observables import (
    Observable,
    observable_values,
    parse_observable,
    parse_observables,
)
from jeffreysflow.estimation.profiles import Profile
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Potential

__all__ = ["Measured", "build_measured"]


@dataclass(frozen=True)
class Measured:
    """The observables of an experiment, and its profiles, whose bins are observables too."""

    observables: Sequence[Observable]
    profiles: Sequence[Profile]

    @property
    def all(self) -> list[Observable]:
        """The observables, then the bins of each profile in turn."""
        return [*self.observables, *(bin for part in self.profiles for bin in part.indicators())]

    @property
    def bin_names(self) -> list[str]:
        """The names of the bins of each profile in turn."""
        return [f"profile:{part.name}:{i}" for part in self.profiles for i in range(part.bins)]

    @property
    def uses_energy(self) -> bool:
        """Whether any value depends on the energy of a sample."""
        functions = [*self.observables, *(profile.observable for profile in self.profiles)]
        return any(function.uses_energy for function in functions)

    def values(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """All of them [n, all] for samples ``x`` [n, d] of target energy ``U`` [n], kT."""
        parts = [observable_values(self.observables, x, U)]
        return torch.cat([*parts, *(profile.values(x, U) for profile in self.profiles)], dim=1)

    def of_observables(self, values: torch.Tensor) -> torch.Tensor:
        """The part of values [all] that belongs to the observables."""
        return values[: len(self.observables)]

    def of_profiles(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The parts of values [all] that belong to each profile, [bins] each."""
        bins = [profile.bins for profile in self.profiles]
        return list(torch.split(values[len(self.observables) :], bins))


def build_measured(experiment: Experiment, potential: Potential) -> Measured:
    """Observables and profiles: expressions, or functions of the potential file. None of the low
    modes of a ring polymer: what is measured are averages over all its beads.

    Raises
    ------
    UserError : one is neither, with its position and the nearest valid name.
    """
    if isinstance(potential, RingPolymer):
        return Measured((), ())
    named, d = getattr(potential, "observables", {}), potential.dimension
    return Measured(
        parse_observables(experiment.observables, d, named),
        [
            Profile(parse_observable(part.expression, d, named), part.lower, part.upper, part.bins)
            for part in experiment.profiles
        ],
    )
