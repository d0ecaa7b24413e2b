"""Bonds, angles and dihedrals of a tree to positions, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from jeffreysflow.molecules.geometry import angle, cross, dihedral, norm
from jeffreysflow.molecules.tree import Tree

__all__ = ["Internals", "Placing", "log_volume"]


class Internals(NamedTuple):
    """``bonds`` [N - 1, n], ``angles`` [N - 2, n] and ``torsions`` [N - 3, n]: of the second and
    third atom of the root, then of the sites in their order.
    """

    bonds: torch.Tensor
    angles: torch.Tensor
    torsions: torch.Tensor


class Placing(nn.Module):
    """Positions [atom, 3, n] from internal coordinates, and back.

    The first atom of the tree is the origin, the second lies on the z axis, the third in the xz
    plane. With ``b`` the bonds and ``theta`` the angles

        ``d x_1 .. d x_N = prod_i b_i^2 prod_i sin(theta_i)  d b d theta d torsions  d x_1 d Omega``

    where ``Omega`` is the orientation (whose volume is 8 pi^2).
    """

    _back: torch.Tensor
    _atoms: torch.Tensor

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self._root = tree.root
        self._generations = len(tree.generations)
        place = {atom: row for row, atom in enumerate(tree.order)}
        back = torch.tensor([place[atom] for atom in range(len(place))])
        self.register_buffer("_back", back)
        for g, members in enumerate(tree.generations):
            sites = [tree.sites[i] for i in members]
            rows = [
                [place[atom] for atom in (site.parent, site.grand, *site.ends)] for site in sites
            ]
            self.register_buffer(f"_rows_{g}", torch.tensor(rows).T.contiguous())
            self.register_buffer(f"_members_{g}", torch.tensor(members))
        columns = [(s.atom, s.parent, s.grand, *s.ends) for s in tree.sites]
        empty = torch.empty(5, 0, dtype=torch.int64)
        atoms = torch.tensor(columns).T.contiguous() if columns else empty
        self.register_buffer("_atoms", atoms)

    def positions(self, internals: Internals) -> torch.Tensor:
        """[atom, 3, n] from internal coordinates."""
        bonds, angles, torsions = internals
        zero = torch.zeros_like(bonds[0])
        second = torch.stack([zero, zero, bonds[0]])
        sine, cosine = angles[0].sin(), angles[0].cos()
        third = second + bonds[1] * torch.stack([sine, zero, -cosine])
        placed = torch.stack([torch.zeros_like(second), second, third])
        for g in range(self._generations):
            rows, members = getattr(self, f"_rows_{g}"), getattr(self, f"_members_{g}")
            parent, grand, start, end = (placed.index_select(0, each) for each in rows)
            bond = bonds.index_select(0, members + 2).unsqueeze(1)
            bend = angles.index_select(0, members + 1).unsqueeze(1)
            turn = torsions.index_select(0, members).unsqueeze(1)
            along = _unit(parent - grand)
            normal = _unit(cross(start - end, along))
            side = cross(normal, along)
            around = turn.cos() * side + turn.sin() * normal
            new = parent + bond * (bend.sin() * around - bend.cos() * along)
            placed = torch.cat([placed, new])
        return placed.index_select(0, self._back)

    def internals(self, r: torch.Tensor) -> Internals:
        """Internal coordinates of positions [atom, 3, n], wherever and however they lie."""
        first, second, third = (r[atom].unsqueeze(0) for atom in self._root)
        atom, parent, grand, start, end = (r.index_select(0, each) for each in self._atoms)
        bond, axis = atom - parent, parent - grand
        bonds = torch.cat([norm(second - first), norm(third - second), norm(bond)])
        angles = torch.cat([angle(first - second, third - second), angle(bond, -axis)])
        return Internals(bonds, angles, dihedral(start - end, axis, bond))


def log_volume(internals: Internals) -> torch.Tensor:
    """``sum_i 2 log b_i + sum_i log sin(theta_i)`` [n], lengths in nm."""
    return 2 * internals.bonds.log().sum(dim=0) + internals.angles.sin().log().sum(dim=0)


def _unit(a: torch.Tensor) -> torch.Tensor:
    return a / norm(a).unsqueeze(1)
