"""A small molecule made by hand, and a harmonic one that is known in closed form."""

from __future__ import annotations

import math

import torch

from jeffreysflow.molecules.bonded import Angles, Bonds
from jeffreysflow.molecules.chart import Chart
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.internal import internal_chart
from jeffreysflow.molecules.placing import Internals, Placing
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.tree import build_tree
from jeffreysflow.molecules.units import GAS_CONSTANT

KT = 300 * GAS_CONSTANT

# CH3 - CHF - CH2 - OH: a rotor, a chiral centre, a pair of hydrogens and a free hydroxyl
CHIRAL = Topology(
    elements=("C", "H", "H", "H", "C", "H", "F", "C", "H", "H", "O", "H"),
    bonds=(
        *((0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6), (4, 7)),
        *((7, 8), (7, 9), (7, 10), (10, 11)),
    ),
)


def reference_of(topology: Topology) -> torch.Tensor:
    """Tetrahedral positions [atom, 3], nm."""
    tree = build_tree(topology)
    n = topology.atoms
    bonds = torch.full((n - 1, 1), 0.12).double()
    angles = torch.full((n - 2, 1), math.radians(109.5)).double()
    torsions = torch.zeros(n - 3, 1).double()
    for group in tree.groups:
        turn = math.radians(175.0)
        for number, member in enumerate(group.members, start=int(group.fixed)):
            torsions[member] = turn + number * 2 * math.pi / 3
    return Placing(tree).positions(Internals(bonds, angles, torsions))[:, :, 0]


def alike(r: torch.Tensor) -> torch.Tensor:
    """An energy that knows no atom from another."""
    return r.new_zeros(r.shape[2])


def chiral_chart() -> Chart:
    return internal_chart(CHIRAL, reference_of(CHIRAL), KT, alike)


def samples_of(chart: Chart, n: int, seed: int = 0, spread: float = 0.3) -> torch.Tensor:
    """Coordinates [n, d]: Gaussian where Euclidean, uniform where periodic."""
    generator = torch.Generator().manual_seed(seed)
    x = spread * torch.randn(n, chart.dimension, generator=generator, dtype=torch.float64)
    for i, period in enumerate(chart.domain.periods):
        if period is not None:
            low, high = period
            u = torch.rand(n, generator=generator, dtype=torch.float64)
            x[:, i] = low + (high - low) * u
    return x


WATER = Topology(elements=("H", "O", "H"), bonds=((0, 1), (1, 2)))
BOND, BEND = 0.1, 1.9
BOND_SD, BEND_SD = 0.012, 0.25
"""Nanometre and radian, at 300 K: soft, so that the determinant moves the means."""


def harmonic_water() -> tuple[ForceField, torch.Tensor]:
    """Two bonds and an angle, and its lowest positions [3, 3]."""
    terms = [
        Bonds([(0, 1), (1, 2)], [BOND] * 2, [KT / BOND_SD**2] * 2),
        Angles([(0, 1, 2)], [BEND], [KT / BEND_SD**2]),
    ]
    r = torch.tensor([[BOND, 0, 0], [0, 0, 0], [math.cos(BEND), math.sin(BEND), 0]])
    r[2] *= BOND
    return ForceField(3, terms, []), r.double()
