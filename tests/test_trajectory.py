"""Frames of a molecule as PDB and DCD."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from jeffreysflow.molecules.trajectory import dcd_bytes, pdb_text
from molecule_cases import CHIRAL, chiral_chart, samples_of

FRAMES = chiral_chart().positions(samples_of(chiral_chart(), 5)).permute(2, 0, 1).numpy()


def test_a_pdb_has_atoms_in_angstrom_and_their_bonds() -> None:
    lines = pdb_text(CHIRAL, FRAMES[0]).splitlines()
    atoms = [line for line in lines if line.startswith("ATOM")]
    assert len(atoms) == CHIRAL.atoms
    found = np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in atoms])
    assert found == pytest.approx(10 * FRAMES[0], abs=5.1e-4)
    assert [line[76:78].strip() for line in atoms] == list(CHIRAL.elements)
    bonds = {(int(line[6:11]), int(line[11:16])) for line in lines if line.startswith("CONECT")}
    assert (1, 2) in bonds


def records(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<i", content, at)
        found.append(content[at + 4 : at + 4 + length])
        assert struct.unpack_from("<i", content, at + 4 + length) == (length,)
        at += length + 8
    return found


def test_a_dcd_has_a_record_an_axis() -> None:
    header, _, count, *axes = records(dcd_bytes(FRAMES))
    assert len(header) == 84
    assert header[:4] == b"CORD"
    assert struct.unpack_from("<i", header, 4) == (5,)
    assert struct.unpack("<i", count) == (CHIRAL.atoms,)
    read = np.array([np.frombuffer(axis, "<f4") for axis in axes]).reshape(5, 3, -1)
    assert read.transpose(0, 2, 1) == pytest.approx(10 * FRAMES, abs=1e-5)


def test_other_programs_read_them(tmp_path: Path) -> None:
    mdtraj = pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    (tmp_path / "a.pdb").write_text(pdb_text(CHIRAL, FRAMES[0]))
    (tmp_path / "a.dcd").write_bytes(dcd_bytes(FRAMES))
    read = mdtraj.load(str(tmp_path / "a.dcd"), top=str(tmp_path / "a.pdb"))
    assert read.xyz == pytest.approx(FRAMES, abs=1e-6)
    assert [atom.element.symbol for atom in read.topology.atoms] == list(CHIRAL.elements)
    found = chiral_chart().coordinates(torch.tensor(read.xyz).double().permute(1, 2, 0))
    assert len(found.x) == 5
