"""Frames of a molecule as PDB and DCD, and as samples."""

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.trajectory import dcd_bytes, pdb_text
from jeffreysflow.stores.sample_files import file_facts, read_samples
from molecule_cases import CHIRAL, alike, chiral_chart, samples_of

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


def chiral_target() -> Any:
    chart = chiral_chart()
    return SimpleNamespace(dimension=chart.dimension, coordinates=chart.coordinates)


def test_a_trajectory_is_read_as_samples(tmp_path: Path) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    file = tmp_path / "run.dcd"
    file.write_bytes(dcd_bytes(FRAMES))
    facts = file_facts(file)
    assert (facts.draws, facts.walkers) == (5, 1)
    found = read_samples(file, None, chiral_target())
    assert found.log_weights is None
    back = chiral_chart().positions(torch.from_numpy(found.x[:, 0])).permute(2, 0, 1).numpy()
    between = [np.linalg.norm(r[:, 0] - r[:, 7], axis=1) for r in (back, FRAMES)]
    assert between[0] == pytest.approx(between[1], abs=1e-6)


def test_frames_of_another_molecule_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    frames = FRAMES.copy()
    frames[[0, 3]] *= -1
    file = tmp_path / "run.dcd"
    file.write_bytes(dcd_bytes(frames))
    found = read_samples(file, None, chiral_target())
    assert "of 5 frames left out: 2 " in capsys.readouterr().out
    assert found.log_weights is None
    assert found.foreign is not None
    assert found.foreign[:, 0].tolist() == [True, False, False, True, False]
    assert (found.x[0] == found.x[1]).all()
    assert (found.x[3] == found.x[2]).all()
    file.write_bytes(dcd_bytes(-FRAMES))
    # a trajectory that went over as a whole is left out like frames that did
    found = read_samples(file, None, chiral_target())
    assert "of 5 frames left out: 5 " in capsys.readouterr().out
    assert found.foreign is not None
    assert bool(found.foreign.all())
    assert np.isfinite(found.x).all()


def test_what_no_trajectory_is_made_of_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    file = tmp_path / "run.dcd"
    whole = dcd_bytes(FRAMES)
    for content in (whole[:-100], whole[:50], b"", b"CORD"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"run\.dcd: .*cut short") as caught:
            file_facts(file)
        assert "\n" not in str(caught.value)
    file.write_bytes(whole)
    with pytest.raises(UserError, match="need an energy of a molecule"):
        read_samples(file, None, SimpleNamespace(dimension=30))  # type: ignore[arg-type]


def test_a_trajectory_of_other_atoms_is_one_line(tmp_path: Path) -> None:
    """Of another number, or in another order, as far as bonds tell."""
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    chart = chiral_chart()
    target = Molecule(alike, chart, 300, CHIRAL)  # type: ignore[arg-type]
    file = tmp_path / "run.dcd"
    file.write_bytes(dcd_bytes(FRAMES[:, :-1]))
    with pytest.raises(UserError, match=r"run\.dcd: positions of 11 atoms, for a molecule of 12"):
        read_samples(file, None, target)
    # hydrogens first
    order = np.argsort([element != "H" for element in CHIRAL.elements], kind="stable")
    file.write_bytes(dcd_bytes(FRAMES[:, order]))
    found = read_samples(file, None, target)
    assert found.foreign is not None
    assert found.turned is not None
    assert bool((found.foreign | found.turned).all())
    for factor in (0.1, 10.0):
        file.write_bytes(dcd_bytes(factor * FRAMES))
        with pytest.raises(UserError, match=r"run\.dcd: bonds are .* positions must be in nm"):
            read_samples(file, None, target)


WRITERS = {
    "xtc": ("XTCTrajectoryFile", 1.0, 5e-4),
    "trr": ("TRRTrajectoryFile", 1.0, 1e-6),
    "nc": ("NetCDFTrajectoryFile", 10.0, 1e-6),
}


def written(file: Path) -> bytes:
    formats = pytest.importorskip("mdtraj.formats", reason="needs the extra `molecules`")
    name, scale, _ = WRITERS[file.suffix[1:]]
    with getattr(formats, name)(str(file), "w") as opened:
        opened.write((scale * FRAMES).astype(np.float32))
    return file.read_bytes()


@pytest.mark.filterwarnings("ignore::UserWarning:mdtraj")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_trajectory_of_any_kind_is_read_whole_or_not_at_all(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"run.{kind}"
    whole = written(file)
    assert file_facts(file).draws == 5
    found = read_samples(file, None, chiral_target()).x[:, 0]
    exact = chiral_chart().coordinates(torch.from_numpy(FRAMES).permute(1, 2, 0).contiguous()).x
    assert np.abs(found - exact.numpy()).max() < 300 * WRITERS[kind][2]
    # within its last frame: in the header, in the positions, and all but the last byte
    last = len(whole) - len(whole) // 5
    for end in (last + 4, last + 20, last + 90, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError, match=rf"run\.{kind}: .*cut short") as caught:
            file_facts(file)
        assert "\n" not in str(caught.value)


def test_a_frame_that_is_none_is_refused(tmp_path: Path) -> None:
    for kind in ("xtc", "trr"):
        file = tmp_path / f"run.{kind}"
        whole = written(file)
        third = 2 * len(whole) // 5
        file.write_bytes(whole[:third] + bytes(8) + whole[third + 8 :])
        with pytest.raises(UserError, match=rf"run\.{kind}: frame 2, .* cut short or damaged"):
            file_facts(file)


def test_a_reader_that_ends_its_process_ends_no_other(tmp_path: Path) -> None:
    """The XTC reader of mdtraj looks beyond a table where the file tells it to."""
    file = tmp_path / "run.xtc"
    whole = written(file)
    file.write_bytes(whole[:84] + b"\x7f" * 4 + whole[88:])
    with pytest.raises(UserError, match=r"run\.xtc: cannot be read .*worker process has ended"):
        read_samples(file, None, chiral_target())
    file.write_bytes(whole)
    assert len(read_samples(file, None, chiral_target()).x) == 5


def test_without_its_reader_a_trajectory_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mdtraj", None)
    (tmp_path / "run.xtc").write_bytes(b"anything")
    with pytest.raises(UserError, match=r"run\.xtc: .*make setup EXTRAS=molecules"):
        file_facts(tmp_path / "run.xtc")
