"""A molecule as a potential in kT: an energy of positions, seen through a chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.molecules.cartesian import Cartesian
from jeffreysflow.molecules.chart import Chart, Frames
from jeffreysflow.molecules.geometry import dihedral
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.units import GAS_CONSTANT
from jeffreysflow.potentials.descent import descended
from jeffreysflow.potentials.potential import OfEnergy, Potential
from jeffreysflow.streams import Stream

__all__ = ["Molecule", "NearStructure", "VolumeElement"]

_NEAR, _STEEPEST = 0.3, 50.0
_MOST_PAIRS, _FEWEST_ROWS = 1 << 22, 64
_UNITS = 3.0
"""Between units of length there is more, between a molecule and itself less."""


class VolumeElement(Potential):
    """``-log |d r / d x|`` kT, and in Cartesian coordinates the centroid's energy: what temperature
    does not scale. Where coordinates are those of no molecule it is what it is at the centre.
    """

    def __init__(self, chart: Chart | Cartesian) -> None:
        super().__init__()
        self.chart, self.domain = chart, chart.domain

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x = _inside(x, self.chart.inside(x))
        return _measure(self.chart, x)


class Molecule(Potential):
    """``U(x) = E(r(x)) / kT - log |d r / d x|``, +inf where x are the coordinates of no molecule of
    this kind (``Chart.inside``).

    Temperature scales the energy alone: the molecule at a temperature T is ``lambda E / kT_0 -
    log|det|`` with lambda = T_0 / T, whose part without lambda is the ``measure``.

    ``observables`` are ``energy``, E in kJ/mol, which follows from U, and named dihedrals (radian)
    and distances (nm);
    ``observable_intervals`` the periods of the dihedrals.

    Parameters
    ----------
    energy : of positions [atom, 3, n] in nm, kJ/mol [n].
    temperature : T_0 in kelvin.
    dihedrals, distances : atoms of observables, by name.
    structure : coordinates [d] of the reference structure; the centre without.
    one_at_a_time : whether another program computes the energy.
    """

    _structure: torch.Tensor

    def __init__(
        self,
        energy: nn.Module,
        chart: Chart | Cartesian,
        temperature: float,
        topology: Topology,
        dihedrals: Mapping[str, Sequence[int]] | None = None,
        distances: Mapping[str, Sequence[int]] | None = None,
        derivatives: int = 2,
        structure: torch.Tensor | None = None,
        *,
        one_at_a_time: bool = False,
    ) -> None:
        super().__init__()
        self.of_positions, self.chart, self.topology = energy, chart, topology
        self.temperature, self.derivatives = temperature, derivatives
        self.one_at_a_time = one_at_a_time
        # between its walls lengths and angles are finite, and so is the energy from below
        self.normalisable = isinstance(chart, Chart)
        self.place = chart.placed if isinstance(chart, Cartesian) else None
        """Draws what `coordinates` of frames lack, where they lack something: the centroid."""
        self.domain: Domain = chart.domain
        centre = torch.zeros(chart.dimension, dtype=torch.float64)
        self.register_buffer("_structure", centre if structure is None else structure)
        self._volume_element = VolumeElement(chart)
        self.observables: dict[str, Callable[[torch.Tensor], torch.Tensor] | OfEnergy] = {
            "energy": OfEnergy(self.kilojoules_of)
        }
        for name, atoms in (dihedrals or {}).items():
            self.observables[name] = _Dihedral(chart, atoms)
        self.observable_intervals = dict.fromkeys(dihedrals or {}, (-math.pi, math.pi))
        for name, atoms in (distances or {}).items():
            self.observables[name] = _Distance(chart, atoms)

    @property
    def structure(self) -> torch.Tensor:
        """Coordinates [d] of the reference structure."""
        return self._structure

    @property
    def measure(self) -> VolumeElement:
        """``-log |d r / d x|``, kT."""
        return self._volume_element

    @property
    def unit(self) -> float:
        """kT in kJ/mol."""
        return GAS_CONSTANT * self.temperature

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return self._energy(x)
        return torch.cat([self._energy(part) for part in torch.split(x, self._rows)])

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [super(Molecule, self).energy_and_gradient(y) for y in torch.split(x, self._rows)]
        energies, gradients = zip(*parts, strict=True)
        return torch.cat(energies), torch.cat(gradients)

    @property
    def _rows(self) -> int:
        """As many configurations at a time as leave the memory of all their pairs small."""
        atoms = self.topology.atoms
        return max(_FEWEST_ROWS, _MOST_PAIRS // max(1, atoms * (atoms - 1)))

    def _energy(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.chart.inside(x)
        x = _inside(x, inside)
        E: torch.Tensor = self.of_positions(self.chart.positions(x))
        energy = E / self.unit + _measure(self.chart, x)
        return energy.masked_fill(~inside, math.inf)

    def kilojoules(self, x: torch.Tensor) -> torch.Tensor:
        """E [n] in kJ/mol; +inf where x are the coordinates of no molecule of this kind."""
        inside = self.chart.inside(x)
        energy: torch.Tensor = self.of_positions(self.positions(_inside(x, inside)))
        return energy.masked_fill(~inside, math.inf)

    def kilojoules_of(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """``E = kT (U(x) + log |d r / d x|)`` [n] in kJ/mol, of energies ``U`` [n] that are known;
        +inf where they are.
        """
        return self.unit * (U - self.measure.energy(x))

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        """[atom, 3, n] in nm, of coordinates [n, d]."""
        return self.chart.positions(x)

    def coordinates(self, r: torch.Tensor) -> Frames:
        """Of positions [atom, 3, n] in nm; frames of another molecule are dropped and counted.

        Raises
        ------
        UserError : another number of atoms, positions that are no numbers, or bonds that are ten
            times too long, as in Angstrom.
        """
        if r.shape[0] != self.topology.atoms:
            raise UserError(
                f"positions of {r.shape[0]} atoms, for a molecule of {self.topology.atoms}"
            )
        bad = (~r.isfinite()).flatten(0, 1).any(dim=0).nonzero()[:, 0].tolist()
        if bad:
            raise UserError(
                f"positions of {len(bad)} of {r.shape[2]} frames are not finite numbers, first "
                f"those of frame {bad[0]}"
            )
        stretch = self.chart.stretch(r)
        if not 1 / _UNITS < stretch < _UNITS:
            raise UserError(
                f"bonds are {stretch:.3g} times as long as in the molecule: positions must be in "
                "nm (1 nm = 10 Angstrom), and atoms in the order of the topology"
            )
        return self.chart.coordinates(r)


class NearStructure(nn.Module):
    """Independent samples near the reference structure of a molecule, from which replicas start:
    normal, .3 units around it, and followed down from where atoms clash, until the energy changes
    by at most 50 kT a unit.

    Parameters
    ----------
    counted : the molecule's energy and gradient, where their evaluations are counted.
    """

    mean: torch.Tensor

    def __init__(self, molecule: Molecule, counted: Potential) -> None:
        super().__init__()
        self._domain, self._counted = molecule.domain, counted
        self.register_buffer("mean", molecule.structure)

    def sample(self, n: int, stream: Stream, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """[n, d]."""
        d, mean = len(self.mean), self.mean.to(dtype)
        spread = stream.normal(n, d, dtype=dtype, device=self.mean.device)
        near = self._domain.wrap(mean + _NEAR * spread)
        return descended(self._counted.energy_and_gradient, near, self._domain, _STEEPEST)


def _measure(chart: Chart | Cartesian, x: torch.Tensor) -> torch.Tensor:
    if isinstance(chart, Cartesian):
        return chart.centroid_energy(x) - chart.log_det(x)
    return -chart.log_det(x)


def _inside(x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Rows outside are put to the centre, where nothing overflows."""
    return torch.where(inside.unsqueeze(1), x, torch.zeros_like(x))


class _Dihedral:
    def __init__(self, chart: Chart | Cartesian, atoms: Sequence[int]) -> None:
        self._chart, self._atoms = chart, list(atoms)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        at = self._chart.positions(x)[self._atoms].unsqueeze(1)
        return dihedral(at[1] - at[0], at[2] - at[1], at[3] - at[2])[0]


class _Distance:
    def __init__(self, chart: Chart | Cartesian, atoms: Sequence[int]) -> None:
        self._chart, self._atoms = chart, list(atoms)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self._chart.positions(x)[self._atoms]
        squares: torch.Tensor = (first - second).square().sum(dim=0)
        return squares.sqrt()
