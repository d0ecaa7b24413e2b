"""The bonded terms of a force field, kJ/mol, of positions [atom, 3, n]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import nn

from jeffreysflow.molecules.geometry import angle, dihedral, norm

__all__ = ["Angles", "Bonds", "Maps", "PeriodicTorsions", "RyckaertBellemans", "Term"]


class Term(nn.Module):
    """A sum over groups of atoms; ``atoms`` [group, k] and the parameters [group] of each."""

    atoms: torch.Tensor

    def __init__(self, atoms: Sequence[Sequence[int]], **parameters: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("atoms", torch.tensor(atoms, dtype=torch.int64).T.contiguous())
        for name, values in parameters.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64).unsqueeze(-1))

    def _of(self, name: str, like: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = getattr(self, name)
        return values.to(like)

    def _steps(self, r: torch.Tensor) -> list[torch.Tensor]:
        """Vectors [group, 3, n] from each atom of a group to the next."""
        at = [r.index_select(0, atoms) for atoms in self.atoms]
        return [b - a for a, b in pairwise(at)]

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """Energies [n]."""
        raise NotImplementedError


class Bonds(Term):
    """``k (b - b_0)^2 / 2``, ``length`` b_0 in nm, ``k`` in kJ/mol/nm^2."""

    length: torch.Tensor

    def __init__(self, atoms: Sequence[Sequence[int]], length: Sequence[float], k: Sequence[float]):
        super().__init__(atoms, length=length, k=k)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        (step,) = self._steps(r)
        stretch = norm(step) - self._of("length", r)
        return (0.5 * self._of("k", r) * stretch.square()).sum(dim=0)


class Angles(Term):
    """``k (theta - theta_0)^2 / 2``, ``theta`` in radian, ``k`` in kJ/mol/rad^2."""

    theta: torch.Tensor

    def __init__(self, atoms: Sequence[Sequence[int]], theta: Sequence[float], k: Sequence[float]):
        super().__init__(atoms, theta=theta, k=k)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        there, on = self._steps(r)
        bend = angle(-there, on) - self._of("theta", r)
        return (0.5 * self._of("k", r) * bend.square()).sum(dim=0)


class PeriodicTorsions(Term):
    """``k (1 + cos(m phi - phase))`` with ``m`` the periodicity."""

    rows: torch.Tensor
    m: torch.Tensor
    phase: torch.Tensor
    k: torch.Tensor

    def __init__(
        self,
        atoms: Sequence[Sequence[int]],
        m: Sequence[float],
        phase: Sequence[float],
        k: Sequence[float],
    ):
        # each dihedral once, whatever number of terms it has
        distinct = sorted(set(map(tuple, atoms)))
        place = {group: row for row, group in enumerate(distinct)}
        super().__init__(distinct, m=m, phase=phase, k=k)
        rows = torch.tensor([place[tuple(group)] for group in atoms], dtype=torch.int64)
        self.register_buffer("rows", rows)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        phi = dihedral(*self._steps(r)).index_select(0, self.rows)
        waves = 1 + torch.cos(self._of("m", r) * phi - self._of("phase", r))
        return (self._of("k", r) * waves).sum(dim=0)

    def waves(self, phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The atoms [term, 4] of each term, and its energy [term, s] at dihedrals ``phi`` [k, s] of
        the k different ones.
        """
        turned = torch.cos(self.m * phi.index_select(0, self.rows) - self.phase)
        return self.atoms.T[self.rows], self.k * (1 + turned)


class RyckaertBellemans(Term):
    """``sum_j c_j cos(phi - pi)^j``, j = 0..5."""

    def __init__(self, atoms: Sequence[Sequence[int]], c: Sequence[Sequence[float]]):
        super().__init__(
            atoms, **{f"c{j}": column for j, column in enumerate(zip(*c, strict=True))}
        )

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        return self._wave(dihedral(*self._steps(r))).sum(dim=0)

    def waves(self, phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The atoms [k, 4] of each term, and its energy [k, s] at dihedrals ``phi`` [k, s]."""
        return self.atoms.T, self._wave(phi)

    def _wave(self, phi: torch.Tensor) -> torch.Tensor:
        cosine = -torch.cos(phi)
        value = self._of("c5", phi).expand_as(cosine)
        for j in range(4, -1, -1):
            value = value * cosine + self._of(f"c{j}", phi)
        return value


class Maps(Term):
    """Correction maps of two dihedrals: ``atoms`` [group, 8], ``map`` [group] says which of the
    ``grids`` [size, size], whose value at (i, j) is that at angles 2 pi i / size and 2 pi j / size.

    Between grid points bicubic, with the derivatives of periodic cubic splines along both axes, as
    OpenMM has it.
    """

    table: torch.Tensor
    which: torch.Tensor

    def __init__(
        self, atoms: Sequence[Sequence[int]], maps: Sequence[int], grids: Sequence[np.ndarray]
    ):
        super().__init__(atoms)
        sizes = {len(grid) for grid in grids}
        if len(sizes) != 1:
            raise ValueError(f"maps of one size are needed, found sizes {sorted(sizes)}")
        self.size = sizes.pop()
        table = np.stack([_with_slopes(grid) for grid in grids])
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("which", torch.tensor(maps, dtype=torch.int64).unsqueeze(-1))

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        steps = Term._steps(self, r)
        places = []
        for phi in (dihedral(*steps[:3]), dihedral(*steps[4:])):
            at = torch.remainder(phi, 2 * math.pi) * (self.size / (2 * math.pi))
            cell = at.detach().floor().clamp(0, self.size - 1)
            places.append((cell.long(), at - cell))
        (i, t), (j, u) = places
        table, values = self.table.to(r), r.new_zeros(())
        for a, weights_a in enumerate(_hermite(t)):
            for b, weights_b in enumerate(_hermite(u)):
                corner = (i + a) % self.size, (j + b) % self.size
                for p, along in enumerate(weights_a):
                    for q, across in enumerate(weights_b):
                        known = table[self.which, 2 * p + q, corner[0], corner[1]]
                        values = values + known * along * across
        return values.sum(dim=0)


def _hermite(t: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Weights of value and slope at the lower and at the upper end of a unit interval."""
    s = 1 - t
    return ((1 + 2 * t) * s * s, t * s * s), ((1 + 2 * s) * t * t, -s * t * t)


def _with_slopes(grid: np.ndarray) -> np.ndarray:
    """Values, slopes along the second axis, along the first, and mixed [4, size, size], in units of
    the grid.
    """

    def slope(values: np.ndarray) -> np.ndarray:
        closed = np.concatenate([values, values[:1]])
        steps = np.arange(len(closed))
        return np.asarray(CubicSpline(steps, closed, bc_type="periodic")(steps[:-1], 1))

    second = slope(grid.T).T
    return np.stack([grid, second, slope(grid), slope(second)])
