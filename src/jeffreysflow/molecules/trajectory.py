"""Frames of a molecule for other programs: PDB and DCD."""

from __future__ import annotations

import struct

import numpy as np

from jeffreysflow.molecules.topology import Topology

__all__ = ["dcd_bytes", "pdb_text"]

_ANGSTROM = 10.0
"""In a nanometre."""


def pdb_text(topology: Topology, positions: np.ndarray) -> str:
    """A PDB file of one frame [atom, 3] in nm, with its bonds."""
    lines = []
    for atom, (x, y, z) in enumerate(_ANGSTROM * positions):
        residue, number = topology.residues[atom]
        name, element = topology.names[atom], topology.elements[atom]
        # names of fewer than four letters leave a column for elements of two
        shown = name[:4] if len(name) > 3 or len(element) > 1 else f" {name}"
        lines.append(
            f"ATOM  {(atom + 1) % 100_000:5d} {shown:<4s} {residue[:3]:>3s} A{number % 10_000:4d}"
            "    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}{1.0:6.2f}{0.0:6.2f}          {element.upper():>2s}"
        )
    for atom, neighbours in enumerate(topology.neighbours):
        for start in range(0, len(neighbours), 4):
            four = "".join(f"{each + 1:5d}" for each in neighbours[start : start + 4])
            lines.append(f"CONECT{atom + 1:5d}{four}")
    return "\n".join([*lines, "END", ""])


def dcd_bytes(frames: np.ndarray) -> bytes:
    """A DCD file (CHARMM's, without unit cell) of frames [n, atom, 3] in nm; float32 Angstrom."""
    n, atoms, _ = frames.shape
    # frames, first step, interval, steps; then zeros, the time step, zeros and a version
    numbers = struct.pack("<4s4i5if10i", b"CORD", n, 1, 1, n, *(0,) * 5, 1.0, *(0,) * 9, 24)
    title = struct.pack("<i80s", 1, b"jeffreysflow".ljust(80))
    parts = [_record(numbers), _record(title), _record(struct.pack("<i", atoms))]
    axes = np.ascontiguousarray((_ANGSTROM * frames).transpose(0, 2, 1), dtype="<f4")
    parts += [_record(axis.tobytes()) for frame in axes for axis in frame]
    return b"".join(parts)


def _record(content: bytes) -> bytes:
    length = struct.pack("<i", len(content))
    return length + content + length
