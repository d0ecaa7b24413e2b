"""Samples in Parquet: a row a sample, a column a coordinate."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_arrays import check_names, trajectory_lengths
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
        walker = parquet.read_table(file, columns=["walker"])["walker"].to_numpy()
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
        fields = {"x": np.stack([table[name].to_numpy() for name in columns], axis=1)}
        for name in ("log_weights", "U"):
            if name in names:
                fields[name] = table[name].to_numpy()
        walker = table["walker"].to_numpy() if "walker" in names else None
        return by_trajectory(fields, walker)


def _library(file: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(
            f"{file}: Parquet is read by pyarrow, which is not installed; run `make setup "
            "EXTRAS=parquet`, or write the samples as .npz"
        ) from error
