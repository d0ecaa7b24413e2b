"""Scaled internal coordinates of a molecule: a chart with its exact determinant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, get_args

import torch
from torch import nn

from jeffreysflow.domain import Domain, Interval
from jeffreysflow.molecules.placing import Internals, Placing, log_volume
from jeffreysflow.molecules.plan import Kind, Plan
from jeffreysflow.molecules.tree import Tree

__all__ = ["Chart", "Frames"]

_THIRD = 2 * math.pi / 3
_ROOT = math.sqrt(2 / 3)
_SHORTEST, _LONGEST = 0.5, 2.0
"""Bonds, in units of their centres,"""
_NARROWEST = 0.05
"""and how far an angle stays from 0 and pi, in radian."""


class Frames(NamedTuple):
    """Coordinates [m, d] of the frames that are the molecule of the chart, ``kept`` [n] which they
    are, and how many were dropped, by why. Those that are ``turned`` [n] about a stiff bond, cis
    for trans, are where the same molecule goes, and the target is what it is elsewhere.
    """

    x: torch.Tensor
    kept: torch.Tensor
    dropped: Mapping[str, int]
    turned: torch.Tensor


class Chart(nn.Module):
    """``x`` [n, 3 N - 6] <-> positions [atom, 3, n] up to rotation and translation.

    Columns are bonds, angles and dihedrals in the tree's order; Euclidean ones are ``(value -
    centre) / scale``, free dihedrals are on circles.

    - Dihedrals of several atoms about one axis: the first is free, the others are offsets from it.
      Offsets keep to intervals, which fix chirality and the order of hydrogens.
    - Of three like hydrogens h = 0, 1, 2 the mean dihedral ``tau`` has period 2 pi / 3. With
      ``phi_h = tau + 2 pi h / 3`` their bonds are ``b + sqrt(2/3) (b_c cos phi_h + b_s sin
      phi_h)``, and so are angles and the deviations of dihedrals from ``phi_h`` (without a mean),
      so that a third of a turn, which gives each hydrogen the place of the next, changes no
      coordinate but tau. The energy is then exactly periodic.

    Parameters
    ----------
    bonds, angles : centres [N - 1] and [N - 2].
    scale : of each coordinate [d], 1 where free.
    """

    centre: torch.Tensor
    scale: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    rotor_sites: torch.Tensor
    _main: torch.Tensor
    _has_main: torch.Tensor

    def __init__(
        self,
        tree: Tree,
        plan: Plan,
        bonds: torch.Tensor,
        angles: torch.Tensor,
        scale: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.tree, self.plan, self.placing = tree, plan, Placing(tree)
        self.bonds, self.angles, self.torsions = len(bonds), len(angles), len(tree.sites)
        d, first = self.bonds + self.angles + self.torsions, self.bonds + self.angles
        centre = torch.cat([bonds, angles, bonds.new_zeros(self.torsions)]).double()
        lower, upper = torch.full((2, self.torsions), math.inf, dtype=torch.float64)
        lower = -lower
        mains = torch.full((self.torsions,), -1)
        periods: list[Interval | None] = [None] * d
        for offset in plan.offsets:
            centre[first + offset.site] = offset.centre
            lower[offset.site], upper[offset.site] = offset.interval
            if offset.main is not None:
                mains[offset.site] = offset.main
        for site in plan.free:
            periods[first + site] = (-math.pi, math.pi)
        for rotor in plan.rotors:
            periods[first + rotor.sites[0]] = (-_THIRD / 2, _THIRD / 2)
            for column in self._rotor_columns(rotor.sites)[:2]:
                centre[column[0]] = centre[column].mean()
                centre[column[1:]] = 0.0
        self.domain = Domain(tuple(periods))
        scale = torch.ones(d, dtype=torch.float64) if scale is None else scale.double()
        scale = torch.where(self.domain.periodic, 1.0, scale)
        for name, values in (("centre", centre), ("scale", scale), ("lower", lower)):
            self.register_buffer(name, values)
        self.register_buffer("upper", upper)
        self.register_buffer("_has_main", (mains >= 0).double().unsqueeze(1))
        self.register_buffer("_main", mains.clamp(min=0))
        rotors = torch.tensor([rotor.sites for rotor in plan.rotors], dtype=torch.int64)
        self.register_buffer("rotor_sites", rotors.reshape(-1, 3))
        self._log_scale = float(scale.log().sum()) + 1.5 * math.log(3) * len(plan.rotors)

    @property
    def dimension(self) -> int:
        return self.domain.dimension

    @property
    def alike(self) -> frozenset[int]:
        """The hydrogens of rotors: which is which no coordinate tells."""
        sites = (site for rotor in self.plan.rotors for site in rotor.sites)
        return frozenset(self.tree.sites[site].atom for site in sites)

    def scaled(self, scale: torch.Tensor) -> Chart:
        """The same chart in other units [d] of its Euclidean coordinates."""
        centre = self.centre.clone()
        bonds, angles = centre[: self.bonds], centre[self.bonds : self.bonds + self.angles]
        for rotor in self.plan.rotors:
            for column in self._rotor_columns(rotor.sites)[:2]:
                centre[column] = centre[column[0]].clone()
        return Chart(self.tree, self.plan, bonds, angles, scale)

    def _rotor_columns(self, sites: tuple[int, int, int]) -> list[list[int]]:
        """Those of the bonds, the angles and the dihedrals of a rotor."""
        firsts = 2, self.bonds + 1, self.bonds + self.angles
        return [[first + site for site in sites] for first in firsts]

    def internals(self, x: torch.Tensor) -> Internals:
        """Bonds, angles and dihedrals of coordinates [n, d]."""
        values = torch.addcmul(self.centre.to(x), x, self.scale.to(x)).T
        bonds, angles, torsions = torch.split(values, [self.bonds, self.angles, self.torsions])
        main = torsions.index_select(0, self._main)
        torsions = torsions + self._has_main.to(x) * main
        if not len(self.rotor_sites):
            return Internals(bonds, angles, torsions)
        rows = self.rotor_sites.flatten()
        phi, cosine, sine = self._phases(torsions)
        of_bonds = self._mixed(bonds, rows + 2, cosine, sine)
        of_angles = self._mixed(angles, rows + 1, cosine, sine)
        _, c, s = torsions.index_select(0, rows).reshape(*self.rotor_sites.shape, -1).unbind(1)
        turned = phi + _ROOT * (c.unsqueeze(1) * cosine + s.unsqueeze(1) * sine)
        return Internals(
            bonds.index_copy(0, rows + 2, of_bonds),
            angles.index_copy(0, rows + 1, of_angles),
            torsions.index_copy(0, rows, turned.flatten(0, 1)),
        )

    def _phases(self, torsions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``phi_h``, its cosine and sine [rotor, 3, n]."""
        tau = torsions.index_select(0, self.rotor_sites[:, 0]).unsqueeze(1)
        turns = torch.arange(3, dtype=tau.dtype, device=tau.device)
        phi = tau + _THIRD * turns.reshape(1, 3, 1)
        return phi, phi.cos(), phi.sin()

    def _mixed(
        self, values: torch.Tensor, rows: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> torch.Tensor:
        """The bonds (or angles) of the hydrogens [3 rotors, n] from mean and waves."""
        mean, c, s = values.index_select(0, rows).reshape(*self.rotor_sites.shape, -1).unbind(1)
        waves = c.unsqueeze(1) * cosine + s.unsqueeze(1) * sine
        return (mean.unsqueeze(1) + _ROOT * waves).flatten(0, 1)

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        """[atom, 3, n] in nm, in the frame of the tree's root."""
        return self.placing.positions(self.internals(x))

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        """``log |d positions / d (x, rotation, translation)|`` [n]: lengths in nm, without the
        volume 8 pi^2 of rotations.
        """
        return self.log_det_of(self.internals(x))

    def log_det_of(self, internals: Internals) -> torch.Tensor:
        """The same, of what ``internals`` gives."""
        return log_volume(internals) + self._log_scale

    def inside(self, x: torch.Tensor) -> torch.Tensor:
        """Where coordinates [n, d] are those of this molecule [n]: bonds within a factor of two,
        angles between 0 and pi, offsets in their intervals, hydrogens of rotors in their order.
        """
        return ~torch.stack(list(self._outside(x).values())).any(dim=0)

    def _outside(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            bonds, angles, torsions = self.internals(x)
            length = self.centre[: self.bonds].to(x).clone()
            for rotor in self.plan.rotors:
                length[self._rotor_columns(rotor.sites)[0]] = float(length[rotor.sites[0] + 2])
            length = length.unsqueeze(1)
            misshapen = ~((bonds > _SHORTEST * length) & (bonds < _LONGEST * length)).all(dim=0)
            misshapen |= ~((angles > _NARROWEST) & (angles < math.pi - _NARROWEST)).all(dim=0)
            found = {"bonds or angles out of range": misshapen}
            columns = torch.addcmul(self.centre.to(x), x, self.scale.to(x)).T
            own = columns[self.bonds + self.angles :]
            for kind in get_args(Kind):
                sites = [offset.site for offset in self.plan.offsets if offset.kind == kind]
                value = own[sites]
                lower, upper = (each[sites].to(x).unsqueeze(1) for each in (self.lower, self.upper))
                found[kind] = ~((value > lower) & (value < upper)).all(dim=0)
            if len(self.rotor_sites):
                phi, _, _ = self._phases(own)
                turned = torsions[self.rotor_sites.flatten()].reshape(phi.shape)
                ordered = ((turned - phi).abs() < _THIRD / 2).flatten(0, 1).all(dim=0)
                swapped = found.get("hydrogens swapped", torch.zeros_like(ordered))
                found["hydrogens swapped"] = swapped | ~ordered
            return found

    def coordinates(self, r: torch.Tensor) -> Frames:
        """Of positions [atom, 3, n] in nm, wherever and however they lie.

        Where hydrogens of a rotor have turned by a third, they are taken for one another.
        """
        bonds, angles, torsions = self.placing.internals(r)
        first = self.bonds + self.angles
        main = torsions.index_select(0, self._main)
        own = torsions - self._has_main.to(r) * main
        about = self.centre[first:].to(r).unsqueeze(1)
        own = about + torch.remainder(own - about + math.pi, 2 * math.pi) - math.pi
        columns = torch.cat([bonds, angles, own]).clone()
        for rotor in self.plan.rotors:
            sites = list(rotor.sites)
            turned = torsions[sites]
            rise = torch.remainder(turned - turned[0], 2 * math.pi)
            # not in order: deviations are far too large then, and it is seen
            tau = turned[0] + (rise.sum(dim=0) - 3 * _THIRD) / 3
            phi = tau + _THIRD * torch.arange(3).to(r).unsqueeze(1)
            deviation = rise + turned[0] - phi
            for column, values in zip(
                self._rotor_columns(rotor.sites), (bonds, angles, deviation), strict=True
            ):
                of = values if values is deviation else values[self._rows(column)]
                columns[column[0]] = of.mean(dim=0)
                columns[column[1]] = _ROOT * (of * phi.cos()).sum(dim=0)
                columns[column[2]] = _ROOT * (of * phi.sin()).sum(dim=0)
            columns[first + sites[0]] = tau
        x = ((columns - self.centre.to(r).unsqueeze(1)) / self.scale.to(r).unsqueeze(1)).T
        x = self.domain.wrap(x.contiguous())
        reasons = self._outside(x)
        found, kept = {}, torch.ones(len(x), dtype=torch.bool, device=x.device)
        for reason, bad in reasons.items():
            # each frame counts once
            found[reason] = bad & kept
            kept = kept & ~bad
        dropped = {reason: int(bad.sum()) for reason, bad in found.items()}
        dropped = {reason: count for reason, count in dropped.items() if count}
        return Frames(x[kept], kept, dropped, found["turned about a stiff bond"])

    def stretch(self, r: torch.Tensor) -> float:
        """The median bond of positions [atom, 3, n] in units of its centre."""
        length = self.internals(r.new_zeros(1, self.dimension)).bonds
        return float((self.placing.internals(r).bonds / length).median())

    def _rows(self, columns: list[int]) -> list[int]:
        """Places of columns among bonds, or among angles."""
        start = self.bonds if columns[0] >= self.bonds else 0
        return [column - start for column in columns]
