"""A target with power-law tails, end to end: right with tails in the base, a line without."""

from __future__ import annotations

import math
from functools import cache

import torch
from scipy import stats

from jeffreysflow.distillation.level import LevelResult, distill_level
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parts import Reference
from jeffreysflow.distillation.pushing import base_ensemble, pushed
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.domain import Domain
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.judgement.box_doubt import box_doubt
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.streams import Stream

DOMAIN = Domain.euclidean(2)
NU = 3.0
LOG_Z = math.log(math.sqrt(2 * math.pi) * math.sqrt(NU) * math.pi / 2)
SETTINGS = LevelSettings(
    0.0,
    1.0,
    JeffreysLoss(0.5, 1.0),
    recipe=Recipe(steps=100, batch=400),
    network={"layers": 4, "hidden": (16, 16), "bins": 8},
    ensemble=4000,
)


class HeavyTails(Potential):
    """Student's t of 3 degrees of freedom in x1, a standard Gaussian in x2."""

    domain = DOMAIN

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (NU + 1) * torch.log1p(x[:, 0] ** 2 / NU) + 0.5 * x[:, 1] ** 2


def path(tails: float | None) -> AnnealingPath:
    return AnnealingPath(Base(DOMAIN, sd=1.5, tails=tails), HeavyTails())


@cache
def distilled(tails: float | None) -> LevelResult:
    stream = Stream(1, "reference")
    reference = torch.cat((stream.student(NU, 4000, 1), stream.normal(4000, 1)), dim=1)
    parts = Reference(reference[200:], reference[:200])
    return distill_level(path(tails), SETTINGS, None, parts, lambda name: Stream(2, name))


def deviations(tails: float | None) -> list[float]:
    """Of P(|x1| > 5, 15, 40) and of log Z, in standard errors, from 400,000 samples."""
    result, n = distilled(tails), 400_000
    source = base_ensemble(path(tails), n, Stream(3, "fresh"))
    ensemble, log_w = pushed(result.flow, path(tails), 0.0, 1.0, source, 20_000)
    far = ensemble.x[:, 0].abs()
    sums = WeightedSums.of(log_w, torch.stack([far > c for c in (5, 15, 40)], dim=1).double())
    exact = torch.tensor([2 * stats.t.sf(c, NU) for c in (5, 15, 40)])
    w = torch.exp(log_w - LOG_Z)
    log_z = (float(w.mean()) - 1) / (float(w.std()) / math.sqrt(n))
    return [*((sums.means - exact) / sums.errors.clamp(min=1e-9)).tolist(), log_z]


def doubt(tails: float | None) -> str | None:
    facts = distilled(tails).facts
    return box_doubt(
        facts["outside_base"],
        facts["outside_reference"],
        facts["reference_samples"],
        facts["outside_predicted"],
        facts["outside_predicted_error"],
        facts.get("tail_dof"),
    )


def test_tails_of_the_base_are_drawn_and_weighted_right() -> None:
    for tails in (NU, 1.5):
        assert max(map(abs, deviations(tails))) < 4.5
        assert doubt(tails) is None
        assert distilled(tails).facts["cess"] > 0.5


def test_a_gaussian_base_loses_them_and_it_is_said() -> None:
    assert max(map(abs, deviations(None))) > 10
    line = doubt(None)
    assert line is not None
    assert "3.0 degrees of freedom; set base.tails" in line


def test_tails_that_are_too_light_are_named_too() -> None:
    line = doubt(20.0)
    assert line is not None
    assert "set base.tails to that or less" in line
