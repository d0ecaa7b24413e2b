"""What is told of points on their way through flows whose weights are random."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.stages import distill, gather, generate, temper
from jeffreysflow.tempering.communicator import SerialCommunicator
from velocity_cases import SMALL, wells

SAMPLING: dict[str, dict[str, Any]] = {
    "samples": {},
    "points by metropolis": {
        "sampling": {"kind": "metropolis", "islands": 8, "chains": 5, "burn_in": 1}
    },
    "points by smc": {"sampling": {"kind": "smc", "islands": 8, "moves": 2, "cess": 0.7}},
}


@pytest.mark.parametrize("kind", SAMPLING)
def test_progress_counts_every_point_and_ends_with_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    layout, experiment = wells(tmp_path, SMALL, SAMPLING[kind])
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    capsys.readouterr()
    generate.run(layout, experiment, "f")
    said = capsys.readouterr()
    line = next(line for line in said.err.splitlines() if "generate" in line)
    counted = re.search(r"(\d+)/(\d+) (samples|points) \(100 %\)", line)
    assert counted is not None
    done, total, unit = counted.groups()
    assert done == total
    assert unit == kind.split()[0]
    assert ("a pilot of" in said.out) == ("smc" in kind)
    if "metropolis" in kind:
        sweeps = experiment.generation.samples // 40
        assert int(total) == 8 * 2 * 5 * (1 + sweeps)
