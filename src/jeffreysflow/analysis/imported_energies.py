"""Energies that came with samples beside those of the experiment's energy."""

from __future__ import annotations

import torch

from jeffreysflow.config import SamplesConfig
from jeffreysflow.errors import UserError
from jeffreysflow.molecules.units import ELECTRONVOLT, GAS_CONSTANT, KILOCALORIE

__all__ = ["check_energies", "unit_in_kt"]

_UNITS = {"kJ/mol": 1.0, "kcal/mol": KILOCALORIE, "eV": ELECTRONVOLT}
"""In kJ/mol."""
_SAME = 0.02
_NEARLY = 0.05
_FEWEST = 8


def unit_in_kt(section: SamplesConfig, unit: str | None = None) -> float:
    """A unit of energy, by default that of the files, in kT of the target."""
    unit = unit or section.energies
    if unit == "kT":
        return 1.0
    assert section.temperature is not None
    return _UNITS[unit] / (GAS_CONSTANT * section.temperature)


def check_energies(
    given: torch.Tensor, U: torch.Tensor, section: SamplesConfig, where: str
) -> float:
    """Whether energies [n] that a file gives are those of the target, ``U`` [n] in kT, up to a
    constant, which is returned.

    Raises
    ------
    UserError : they are not; in which unit they would be, if there is one.
    """
    kept = U.isfinite()
    a, b = given[kept].double() * unit_in_kt(section), U[kept]
    if len(a) < _FEWEST or not float(b.std()) > 0:
        return float((a - b).median()) if len(a) else 0.0
    offset = (a - b).median()
    off = (a - b - offset).abs().quantile(0.9) if len(a) < 1 << 20 else (a - b - offset).std()
    if float(off) <= _SAME * float(b.std()):
        return float(offset)
    u, v = a - a.mean(), b - b.mean()
    factor = float((u @ v) / (v @ v))
    correlation = float((u @ v) / (u.norm() * v.norm()).clamp(min=1e-300))
    text = f"{where}: the energies in the file are not those of the experiment"
    if correlation < 1 - _NEARLY:
        raise UserError(
            f"{text}: their correlation is {correlation:.3f}; another energy, or another order or "
            "unit of the coordinates"
        )
    found = f"{text}, they are {factor:.4g} times as large in {section.energies}"
    known = ["kT", *(_UNITS if section.temperature else ())]
    for unit in known:
        real = factor * unit_in_kt(section, unit) / unit_in_kt(section)
        if unit != section.energies and abs(real - 1) < _NEARLY:
            raise UserError(f"{found}, and right in {unit}; set energies: {unit}")
    ratios = {"of kJ and kcal": KILOCALORIE, "of kcal and kJ": 1 / KILOCALORIE}
    for name, ratio in ratios.items():
        if abs(factor / ratio - 1) < _NEARLY:
            raise UserError(f"{found}, the ratio {name}")
    raise UserError(f"{found}: another unit or temperature")
