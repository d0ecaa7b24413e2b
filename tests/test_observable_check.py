"""Expressions that are no numbers where the target has mass are refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.relaxed import points_with_mass

TWO_WELLS = "5 * (x[:, 0]**2 - 1) ** 2 + 0.5 * x[:, 0]"
HALF = "torch.where(x[:, 0] > 0, (x**2).sum(-1) / 2, torch.inf)"
FAR = "((x - 8) ** 2).sum(-1) / 2"


def experiment(folder: Path, energy: str, **changes: Any) -> Experiment:
    file = folder / "mine.py"
    file.write_text(f"import torch\ndimension = 1\ndef energy(x):\n    return {energy}\n")
    ladder = {"kind": "fixed", "values": [0, 1]}
    content = {
        "name": "x",
        "title": "t",
        "scale": "test",
        "seed": 1,
        "potential": {"file": str(file)},
        "base": {"mean": 1.0, "sd": 1.0},
        "references": {"r": {"ladder": ladder, "walkers": 2, "warmup_rounds": 0, "rounds": 4}},
        "flows": {"f": {"reference": "r", "theta": 0.5}},
    }
    return validated(Experiment, {**content, **changes}, "x.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"observables": ["x1", "log(x1 + 1.2)"]},
        {"profiles": [{"expression": "log(x1 + 1.2)", "lower": 0, "upper": 1}]},
        {"views": [["x1", "log(x1 + 1.2)"]]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_expression_that_fails_in_one_well_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"'log\(x1 \+ 1.2\)' is not finite at x = \[-1\.") as error:
        check_experiment(experiment(tmp_path, TWO_WELLS, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("energy", "mean", "observable", "refused"),
    [
        (TWO_WELLS, 1.0, "log(x1 + 3)", False),
        (HALF, 9.0, "log(x1)", False),
        (HALF, 9.0, "log(x1 - 1)", True),
        # no base sample is near the well: only moves find it
        (FAR, 0.0, "log(9 - x1)", True),
        (FAR, 0.0, "log(x1 + 2)", False),
    ],
)
def test_only_where_the_target_has_mass(
    energy: str, mean: float, observable: str, refused: bool, tmp_path: Path
) -> None:
    checked = experiment(tmp_path, energy, observables=[observable], base={"mean": mean})
    if not refused:
        check_experiment(checked)
        return
    with pytest.raises(UserError, match="is not finite at x = "):
        check_experiment(checked)


def test_walks_reach_a_well_and_leave_what_is_no_number() -> None:
    def energy(x: torch.Tensor) -> torch.Tensor:
        U = 0.5 * ((x - 20) / 0.5).square().sum(dim=1)
        return torch.where(x[:, 0] > 21, torch.nan, U)

    start, domain = Stream(1).normal(64, 2), Domain.euclidean(2)
    x, U = points_with_mass(energy, start, torch.ones(2), domain, Stream(2))
    assert len(x) > 300
    assert bool(U.isfinite().all())
    assert float(U.max() - U.min()) <= 14
    assert float(x[:, 0].max()) <= 21
    assert abs(float(x[:, 1].median()) - 20) < 0.5


def test_circles_are_walked_around() -> None:
    x, _ = points_with_mass(
        lambda x: 5 * x[:, 0].cos(), torch.zeros(64, 1), torch.ones(1), Domain.torus(1), Stream(3)
    )
    assert float(x.abs().max()) <= torch.pi
    assert float((x.abs() > 2).double().mean()) > 0.5
