"""What a map between samples of two levels is; each is one file in ``maps``, found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from jeffreysflow.discovery import check_takes, find, names_in
from jeffreysflow.flows import maps
from jeffreysflow.flows.box import Box
from jeffreysflow.flows.sizes import rows_at_once
from jeffreysflow.potentials import Base
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["TransportMap", "build_map", "check_map", "map_class", "map_names"]


class TransportMap(nn.Module, ABC):
    """A differentiable map F of samples, with the logarithm of its Jacobian determinant.

    ``settings`` are what its constructor takes, as JSON holds them: ``type(F)(**F.settings)`` is
    the same map with parameters to be loaded, which are those of ``state_dict()``. Its parameters
    may have any floating type, and follow ``to``.
    """

    invertible: bool = True
    """Whether there is an ``inverse``. Losses that pull reference samples back need one."""

    has_velocity: bool = False
    """Whether it is a velocity ``v(x, t)``, integrated, which is what is trained."""
    is_trained: bool = False
    """Whether it comes trained, and is used as it is."""
    components: int = 0
    """How many Gaussians, fitted to the reference, it begins with at most; 0: none."""

    settings: dict[str, Any]

    @classmethod
    @abstractmethod
    def for_level(
        cls, box: Box, base: Base, stream: Stream, *_: Any, **settings: Any
    ) -> TransportMap:
        """A new map for samples in ``box``, the identity to begin with.

        ``stream`` is where initial parameters come from, ``settings`` are those of the
        configuration. Outside the box, where there is nothing to learn from, it should be the
        identity.
        """

    @abstractmethod
    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``F z`` [n, d] of ``z`` [n, d], and ``log|det dF(z)|`` [n]."""

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``F^-1 x`` [n, d] of ``x`` [n, d], and ``log|det dF^-1(x)|`` [n].

        Raises
        ------
        NotImplementedError : it has none (``invertible``).
        """
        raise NotImplementedError(f"{self.kind}: no inverse")

    @property
    def normals(self) -> int:
        """How many standard normal numbers the weight of a sample takes, 0 where it is exact."""
        return 0

    @property
    def unbiased(self) -> bool:
        """Whether averages with the weights of ``weighted`` are unbiased."""
        return True

    def weighted(self, z: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples [n, d] of ``z`` [n, d], without gradients, and the logarithms [n] of their
        factors in weights.

        Given all ``normals`` [n, m] they are ``F z`` and ``log|det dF(z)|`` of a map, or factors
        whose mean over normal numbers is that determinant.
        """
        with torch.no_grad():
            return self(z)  # type: ignore[no-any-return]

    @property
    def pulls(self) -> bool:
        """Whether samples can be pulled back with the factors that they would have."""
        return self.invertible

    def pulled(self, x: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The inverse of ``weighted``: ``F^-1 x`` [n, d] of ``x`` [n, d], and the logarithms [n] of
        one over the factors that samples x would have with these ``normals`` [n, m].
        """
        with torch.no_grad():
            return self.inverse(x)

    def refuse_folds(self, y: torch.Tensor) -> None:
        """
        Raises
        ------
        UserError : samples ``y`` [n, d] of the target do not come back to where they were when they
            are pulled back and pushed again; not asked of maps that are one to one by themselves.
        """

    def finish(self, z: torch.Tensor, normals: Callable[[int, int], torch.Tensor]) -> None:
        """Learn, once training is over, what its weights need, from source samples ``z`` [n, d]
        that no estimate uses; ``normals`` draws [n, m].
        """

    def start_at(self, law: LineMixture) -> None:
        """Begin as the map from the base to Gaussians, where it has ``components``."""

    def start_from(self, below: TransportMap) -> None:
        """Take over what the map of the level below, of the same kind and settings, has learnt."""
        self.load_state_dict(below.state_dict())

    def decaying(self) -> list[nn.Parameter]:
        """The parameters that a decay of the weights draws to zero: by default all matrices, but no
        biases, so that with none of them coordinates are moved independently of each other.
        """
        return [each for each in self.parameters() if each.ndim > 1 and each.shape[1] > 1]

    @property
    def numbers(self) -> int:
        """Float64 numbers of working memory one sample takes without gradients: by default, four
        for each output of a layer.
        """
        return 4 * sum(parameter.shape[0] for parameter in self.parameters() if parameter.ndim > 1)

    @property
    def rows_at_once(self) -> int:
        """How many samples are mapped at a time, so that about 200 MB do."""
        return rows_at_once(max(self.numbers, 1))

    @property
    def kind(self) -> str:
        """The name of the file it comes from."""
        return type(self).__module__.rpartition(".")[2]


def map_names() -> list[str]:
    """The kinds of maps there are."""
    return names_in(maps.__path__)


def map_class(kind: str) -> type[TransportMap]:
    """The map of a kind.

    Raises
    ------
    UserError : there is none.
    """
    return cast(type[TransportMap], find(maps.__name__, TransportMap, "map", kind))


def check_map(kind: str, settings: Mapping[str, Any]) -> type[TransportMap]:
    """The map of a kind that takes these settings.

    Raises
    ------
    UserError : there is none, or it does not take one of them.
    """
    cls = map_class(kind)
    check_takes(cls.for_level, f"map {kind!r}", settings, before=3, called="settings")
    return cls


def build_map(
    kind: str, settings: Mapping[str, Any], box: Box, base: Base, stream: Stream
) -> TransportMap:
    """A new map of a kind (``TransportMap.for_level``).

    Raises
    ------
    UserError : there is none, or it does not take these settings.
    """
    return check_map(kind, settings).for_level(box, base, stream, **settings)
