"""Packages that only some studies need."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["without_openmm", "without_torchdiffeq"]


def without_openmm() -> bool:
    """Whether OpenMM is missing, which is said."""
    if find_spec("openmm") is not None:
        return False
    print("OpenMM is not installed: make setup EXTRAS=molecules")
    return True


def without_torchdiffeq() -> bool:
    """Whether torchdiffeq is missing, which is said."""
    if find_spec("torchdiffeq") is not None:
        return False
    print("torchdiffeq is not installed: pip install torchdiffeq")
    return True
