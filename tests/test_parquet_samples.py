"""Samples in Parquet, where `pyarrow` is there."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jeffreysflow.errors import UserError
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.stores.sample_files import file_facts, read_samples
from sample_cases import PRECISION, drawn, experiment_of, write_files

FILES = "      - {file: x.parquet, lam: 1}"


def test_columns_become_trajectories(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    write_files(tmp_path)
    x = drawn(300, (90,))
    walker = np.repeat([1, 0], [50, 40])
    columns = {"x1": x[:, 0], "x2": x[:, 1], "walker": walker, "U": PRECISION / 2 * (x**2).sum(1)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    section = experiment_of(tmp_path, files=FILES).reference("r")
    assert (section.walkers, section.samples) == (2, 80)
    found = read_samples(tmp_path / "x.parquet", None, load_user_potential(tmp_path / "energy.py"))
    np.testing.assert_array_equal(found.x[:, 0], x[50:])
    np.testing.assert_array_equal(found.x[:, 1], x[:40])
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot be read as \.parquet"):
        file_facts(tmp_path / "x.parquet")


def test_what_is_missing_or_no_number_is_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    write_files(tmp_path)
    x = drawn(300, (4,))
    right = {"x1": x[:, 0].tolist(), "x2": x[:, 1].tolist(), "walker": ["a", "a", "b", "b"]}
    target = load_user_potential(tmp_path / "energy.py")

    def read(**changed: list[Any]) -> None:
        parquet.write_table(pyarrow.table({**right, **changed}), tmp_path / "x.parquet")
        file_facts(tmp_path / "x.parquet")
        read_samples(tmp_path / "x.parquet", None, target)

    read()
    with pytest.raises(UserError, match=r"walker is missing in 1 of 4 rows"):
        read(walker=["a", "a", None, "b"])
    with pytest.raises(UserError, match=r"x2 must hold real numbers, found bool"):
        read(x2=[True, False, True, True])
    with pytest.raises(UserError, match=r"x2 is missing in 2 of 4 rows"):
        read(x2=[1.0, None, None, 0.0])


def test_without_its_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match="make setup EXTRAS=parquet"):
        experiment_of(tmp_path, files=FILES)
