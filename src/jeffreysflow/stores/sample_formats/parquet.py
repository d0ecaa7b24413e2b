"""Samples in Parquet: a row a sample, a column a coordinate."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_arrays import check_names, real_numbers, trajectory_lengths
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat, by_trajectory

__all__ = ["Parquet"]


class Parquet(SampleFormat):
    """Columns ``x1``, ``x2``, ...; and where they are known ``walker``, the trajectory of a row,
    ``log_weights`` and ``U``. It is read by `pyarrow`, the extra `parquet`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        parquet = _library(file)
        opened = parquet.ParquetFile(file)
        check_names(file, opened.schema_arrow.names)
        if "walker" not in opened.schema_arrow.names:
            return int(opened.metadata.num_rows), 1
        walker = _column(file, parquet.read_table(file, columns=["walker"]), "walker")
        return trajectory_lengths(file, walker)

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        table = _library(file).read_table(file)
        names = table.column_names
        d = sum(re.fullmatch(r"x[1-9]\d*", name) is not None for name in names)
        columns = [f"x{i + 1}" for i in range(d)]
        if not d or not set(columns) <= set(names):
            raise UserError(
                f"{file}: needs the columns x1, x2, ... of all coordinates, found: "
                f"{', '.join(names)}"
            )
        # each for itself: beside numbers truth values become some
        x = [real_numbers(file, name, _column(file, table, name)) for name in columns]
        fields = {"x": np.stack(x, axis=1)}
        for name in ("log_weights", "U"):
            if name in names:
                fields[name] = _column(file, table, name)
        walker = _column(file, table, "walker") if "walker" in names else None
        return by_trajectory(fields, walker)


def _column(file: Path, table: Any, name: str) -> np.ndarray:
    missing = table[name].null_count
    if missing:
        raise UserError(f"{file}: {name} is missing in {missing} of {table.num_rows} rows")
    values: np.ndarray = table[name].to_numpy()
    return values


def _library(file: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(
            f"{file}: Parquet is read by pyarrow, which is not installed; run `make setup "
            "EXTRAS=parquet`, or write the samples as .npz"
        ) from error
