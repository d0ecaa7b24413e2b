"""Cartesian coordinates of a molecule, its centroid held by a Gaussian of its own."""

from __future__ import annotations

import math

import torch
from torch import nn

from jeffreysflow.domain import Domain
from jeffreysflow.molecules.chart import Frames
from jeffreysflow.streams import Stream

__all__ = ["Cartesian"]

_FARTHEST = 1e6
"""nm. Whether there is a density is looked for as far as that. Beyond, numbers overflow and
programs raise; what is not a number is beyond."""


class Cartesian(nn.Module):
    """``r = r_ref + length x``, x [n, 3 N]: x, y and z of the first atom, then of the second.

    The energy of a molecule does not depend on its centroid c, and exp(-U) would have no integral:
    ``N |c|^2 / 2`` kT, c in coordinates x, is added, a Gaussian that is independent of all else.
    Orientations are all there.

    Parameters
    ----------
    reference : positions [atom, 3] in nm.
    length : one unit of a coordinate, nm.
    """

    reference: torch.Tensor

    def __init__(self, reference: torch.Tensor, length: float) -> None:
        super().__init__()
        self.atoms, self.length = len(reference), length
        centred = reference.double() - reference.double().mean(dim=0)
        self.register_buffer("reference", centred)
        self.domain = Domain.euclidean(3 * self.atoms)

    @property
    def dimension(self) -> int:
        return self.domain.dimension

    @property
    def alike(self) -> frozenset[int]:
        """None: each atom is itself."""
        return frozenset()

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        """[atom, 3, n] in nm, of coordinates [n, 3 N]."""
        return self.reference.to(x).unsqueeze(2) + self.length * _split(x)

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        """``log |d r / d x|`` [n], lengths in nm."""
        return x.new_full((len(x),), 3 * self.atoms * math.log(self.length))

    def centroid_energy(self, x: torch.Tensor) -> torch.Tensor:
        """``N |c|^2 / 2`` [n], kT."""
        return 0.5 * self.atoms * _split(x).mean(dim=0).square().sum(dim=0)

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        """Where no atom is further than a millimetre from its place in the reference [n]."""
        return (self.length * x.detach().abs() < _FARTHEST).all(dim=1)

    def stretch(self, r: torch.Tensor) -> float:
        """The radius of gyration of positions [atom, 3, n] in units of that of the reference; 1
        where that is 0, as of a single atom.
        """
        size = (r - r.mean(dim=0)).square().sum(dim=(0, 1)).median()
        usual = self.reference.to(r).square().sum()
        return float((size / usual).sqrt()) if float(usual) > 0 else 1.0

    def coordinates(self, r: torch.Tensor) -> Frames:
        """Of positions [atom, 3, n] in nm, their centroid moved to that of the reference."""
        r = r - r.mean(dim=0)
        x = ((r - self.reference.to(r).unsqueeze(2)) / self.length).flatten(0, 1).T.contiguous()
        kept = torch.ones(len(x), dtype=torch.bool)
        return Frames(x, kept, {}, ~kept)

    def placed(self, x: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Coordinates [n, 3 N] whose centroids are 0, moved to ones drawn from the Gaussian."""
        c = stream.normal(len(x), 3) / math.sqrt(self.atoms)
        return x + c.to(x).repeat(1, self.atoms)


def _split(x: torch.Tensor) -> torch.Tensor:
    return x.T.reshape(-1, 3, len(x))
