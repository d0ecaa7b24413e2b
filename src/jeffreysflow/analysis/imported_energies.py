"""Energies that came with samples beside those of the experiment's energy."""

from __future__ import annotations

import torch

from jeffreysflow.config import SamplesConfig
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.spread_rows import spread_rows
from jeffreysflow.molecules.units import ELECTRONVOLT, GAS_CONSTANT, KILOCALORIE
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_files import ReadSamples

__all__ = ["check_energies", "in_its_unit", "unit_in_kt", "without_measure"]

_UNITS = {"kJ/mol": 1.0, "kcal/mol": KILOCALORIE, "eV": ELECTRONVOLT}
"""In kJ/mol."""
_SAME = 0.02
_NEARLY = 0.05
_FEWEST = 8
_USUAL = 0.9
"""Of all samples: what the others are says nothing of the energy, they may clash."""
_NORMAL = 1.645
"""So many standard deviations hold nine tenths of normal samples."""
_MOST = 1 << 20
_ROWS = 1 << 14


def unit_in_kt(section: SamplesConfig, unit: str) -> float:
    """A unit of energy in kT of the target."""
    if unit == "kT":
        return 1.0
    assert section.temperature is not None
    return _UNITS[unit] / (GAS_CONSTANT * section.temperature)


def check_energies(
    given: torch.Tensor, U: torch.Tensor, section: SamplesConfig, where: str, *, ours: bool = False
) -> float:
    """Whether energies [n] that a file gives, in kT where it is a store of ``ours``, are those of
    the target, ``U`` [n] in kT, up to a constant, which is returned: whether of nine tenths of the
    samples they differ by at most 2 % of how much these vary, whatever the others are.

    Raises
    ------
    UserError : they are not; in which unit they would be, if there is one.
    """
    unit = "kT" if ours else section.energies
    kept = U.isfinite() & given.isfinite()
    a, b = given[kept].double() * unit_in_kt(section, unit), U[kept]
    rows = spread_rows(len(a), _MOST)
    a, b = a[rows], b[rows]
    if len(a) < _FEWEST or not float(b.std()) > 0:
        return float((a - b).median()) if len(a) else 0.0
    offset = (a - b).median()
    off, apart = ((values - values.median()).abs() for values in (a - b, b))
    # an energy that is the same nearly everywhere varies by what is left
    spread = float(apart.quantile(_USUAL)) / _NORMAL or float(b.std())
    if float(off.quantile(_USUAL)) <= _SAME * spread:
        return float(offset)
    usual = (apart <= _NORMAL * spread) & _within(a)
    u, v = (values[usual] - values[usual].mean() for values in (a, b))
    factor = float((u @ v) / (v @ v))
    correlation = float((u @ v) / (u.norm() * v.norm()).clamp(min=1e-300))
    text = f"{where}: the energies in the file are not those of the experiment"
    if correlation < 1 - _NEARLY:
        raise UserError(
            f"{text}: their correlation is {correlation:.3f}; another energy, or another order or "
            "unit of the coordinates"
        )
    found = f"{text}, they are {factor:.4g} times as large in {unit}"
    known = [] if ours else ["kT", *(_UNITS if section.temperature else ())]
    for other in known:
        real = factor * unit_in_kt(section, other) / unit_in_kt(section, unit)
        if other != unit and abs(real - 1) < _NEARLY:
            raise UserError(f"{found}, and right in {other}; set energies: {other}")
    ratios = {"of kJ and kcal": KILOCALORIE, "of kcal and kJ": 1 / KILOCALORIE}
    for name, ratio in ratios.items():
        if abs(factor / ratio - 1) < _NEARLY:
            raise UserError(f"{found}, the ratio {name}")
    raise UserError(f"{found}: another unit or temperature")


def in_its_unit(found: ReadSamples, section: SamplesConfig) -> ReadSamples:
    """Samples with their energies in the section's unit, where the format says in what they are."""
    if not found.in_kt or found.U is None:
        return found
    return found._replace(U=found.U / unit_in_kt(section, section.energies), in_kt=False)


def without_measure(U: torch.Tensor, x: torch.Tensor, measure: Potential | None) -> torch.Tensor:
    """Energies [n] of samples [n, d] as a program knows them: without the volume element of
    coordinates, whose ``measure`` belongs to U.
    """
    if measure is None:
        return U
    with torch.no_grad():
        return U - torch.cat([measure.energy(part) for part in torch.split(x, _ROWS)])


def _within(values: torch.Tensor) -> torch.Tensor:
    """Which of them [n] are no further from their median than nine tenths are."""
    apart = (values - values.median()).abs()
    return apart <= apart.quantile(_USUAL)
