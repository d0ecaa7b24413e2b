"""What lies outside the box of a flow: exact shares, tails by the energy, the line about them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.outside import Beyond, mass_beyond, outside_facts
from jeffreysflow.domain import Domain
from jeffreysflow.flows.box import Box, spline_box
from jeffreysflow.judgement.box_doubt import box_doubt, box_doubts
from jeffreysflow.judgement.flow_doubts import doubts_about_flow
from jeffreysflow.potentials import Base
from jeffreysflow.stores.tables import EstimateRow
from jeffreysflow.streams import Stream


def equal(x: torch.Tensor) -> Ensemble:
    return Ensemble(x, torch.zeros(len(x)).double(), x[:, 0], x[:, 0])


def cube(half: float, d: int, periodic: bool = False) -> Box:
    return Box([-half] * d, [half] * d, [1.0] * d, [periodic] * d)


def product_of_t(nu: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Student's t in the first coordinate, Gaussian in the others."""
    return lambda x: (
        0.5 * (nu + 1) * torch.log1p(x[:, 0] ** 2 / nu) + 0.5 * x[:, 1:].square().sum(1)
    )


def deviation(found: Beyond, exact: float) -> float:
    return abs(found.share - exact) / math.hypot(found.error, 1e-12)


@pytest.mark.parametrize("nu", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("n", [400, 20_000])
def test_the_mass_of_a_tail_that_no_sample_reached(nu: float, n: int) -> None:
    half = 2 * float(stats.t.ppf(0.9995, nu))
    stream = Stream(1, "tail", int(nu), n)
    x = torch.cat((stream.student(nu, n, 1), stream.normal(n, 1)), dim=1)
    exact = 2 * float(stats.t.sf(half, nu))
    # the last 1/128 of the distance, which the doublings leave out
    exact -= 2 * float(stats.t.sf(128 * half, nu))
    found = mass_beyond(product_of_t(nu), equal(x), cube(half, 2))
    assert deviation(found, exact) < 4.5
    assert found.error < 0.3 * exact
    assert found.dof == pytest.approx(nu, abs=0.05)
    # the negative control: another law's mass
    assert n < 1000 or deviation(found, 2 * float(stats.t.sf(half, nu + 3))) > 4.5


def test_weights_count() -> None:
    """Samples of a wider law with their weights give the same mass."""
    nu, n, half = 3.0, 40_000, 30.0
    x = 2 * Stream(2).student(2.0, n, 1)
    U = product_of_t(nu)(x)
    log_q = torch.from_numpy(stats.t.logpdf(x[:, 0].numpy(), 2.0, scale=2.0))
    ensemble = equal(x)._replace(log_weights=-U - log_q)
    found = mass_beyond(product_of_t(nu), ensemble, cube(half, 1))
    assert deviation(found, 2 * float(stats.t.sf(half, nu))) < 4.5
    unweighted = mass_beyond(product_of_t(nu), equal(x), cube(half, 1))
    assert deviation(unweighted, 2 * float(stats.t.sf(half, nu))) > 4.5


def test_tails_that_coordinates_have_together() -> None:
    """A multivariate Student's t falls as a power along no coordinate alone that samples show."""
    nu, d, n, half = 2.0, 4, 20_000, 60.0
    stream = Stream(3)
    scale = (nu / (2 * torch.from_numpy(stats.gamma(nu / 2).rvs(n, random_state=3)))).sqrt()
    x = stream.normal(n, d) * scale[:, None]

    def energy(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (nu + d) * torch.log1p(x.square().sum(dim=1) / nu)

    found = mass_beyond(energy, equal(x), cube(half, d))
    # P(max |z_i| > half / scale) = 1 - E[P(|z| <= half / scale)^d]
    g = torch.from_numpy(stats.gamma(nu / 2).ppf((torch.arange(200_000) + 0.5).numpy() / 200_000))
    inside = torch.special.erf(half / (nu / (2 * g)).sqrt() / math.sqrt(2)) ** d
    assert deviation(found, 1 - float(inside.mean())) < 4.5
    assert found.dof == pytest.approx(nu, abs=0.05)


QUIET: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gaussian": lambda x: 0.5 * x.square().sum(1),
    "exponential": lambda x: 3 * x.abs().sum(1),
    "wall": lambda x: torch.where(x.abs().amax(1) < 5, x.square().sum(1) / 2, math.inf),
    "nan": lambda x: torch.where(x.abs().amax(1) < 5, x.square().sum(1) / 2, math.nan),
}


@pytest.mark.parametrize("name", QUIET)
def test_where_nothing_is_outside(name: str) -> None:
    x = Stream(4).normal(5000, 2).clamp(-4.9, 4.9)
    found = mass_beyond(QUIET[name], equal(x), cube(8.0, 2))
    assert found.share < 1e-7
    assert box_doubt(1e-15, 0.0, 20_000, found.share, found.error, found.dof) is None


def test_a_density_without_a_norm() -> None:
    plateau = mass_beyond(
        lambda x: 5 - 5 * torch.exp(-x.square().sum(1)),
        equal(Stream(5).normal(1000, 2)),
        cube(8.0, 2),
    )
    assert plateau.dof < 0.1
    assert plateau.share > 0.5
    line = box_doubt(1e-15, 0.0, 1000, plateau.share, plateau.error, plateau.dof)
    assert line is not None
    assert "no norm" in line
    unbounded = mass_beyond(
        lambda x: x.square().sum(1) - 1e-2 * x.pow(4).sum(1),
        equal(Stream(5).normal(1000, 2)),
        cube(8.0, 2),
    )
    assert unbounded.share == pytest.approx(1.0)
    assert box_doubt(1e-15, 0.0, 1000, *unbounded[:2]) is not None


def test_periodic_coordinates_have_no_outside() -> None:
    found = mass_beyond(lambda x: 0 * x[:, 0], equal(Stream(6).uniform(100, 2)), cube(1, 2, True))
    assert found == (0.0, 0.0, math.inf)


def test_facts() -> None:
    domain = Domain((None, (0.0, 1.0)))
    base = Base(domain, mean=1.0, sd=2.0, tails=3.0)
    reference = base.sample(1000, Stream(7))
    reference[:3, 0] = torch.tensor([1e6, -1e6, 1e5])
    box = spline_box(base, reference[3:])
    ensemble = equal(reference[:4])._replace(
        log_weights=torch.tensor([1, 2, 3, 4.0]).double().log()
    )
    facts = outside_facts(base, box, reference, ensemble, None)
    assert 8e-7 < facts["outside_base"] <= 1e-6
    assert (facts["outside_reference"], facts["reference_samples"]) == (0.003, 1000)
    assert facts["outside_target"] == pytest.approx(0.6)
    assert "outside_predicted" not in facts
    facts = outside_facts(base, box, reference, equal(reference[3:]), base.energy)
    assert facts["outside_predicted"] == pytest.approx(facts["outside_base"], rel=0.5)
    assert facts["tail_dof"] == pytest.approx(3.0, abs=0.1)


def test_an_energy_that_refuses_far_points_stops_nothing() -> None:
    def refuses(x: torch.Tensor) -> torch.Tensor:
        if bool((x.abs() > 10).any()):
            raise ValueError("outside the support")
        return 0.5 * x.square().sum(dim=1)

    base = Base(Domain.euclidean(1))
    x = base.sample(100, Stream(8))
    facts = outside_facts(base, spline_box(base, x), x, equal(x), refuses)
    assert set(facts) == {
        "outside_base",
        "outside_reference",
        "reference_samples",
        "outside_target",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1e-15, 0.0, 20_000, 1.3e-4, 2e-5, 3.0), "degrees of freedom; set base.tails to that"),
        ((1e-15, 0.0, 20_000, 1.3e-4, 2e-5, 0.7), "set base.tails to 1, the heaviest"),
        ((1e-15, 0.0, 20_000, 1.3e-4, 2e-5, None), "set base.tails, or a larger base.sd"),
        ((1e-15, 5e-4, 20_000), "10 of 20,000 reference samples lie outside"),
        ((1e-15, 5e-4, 20_000, 0.0, 0.0, None), "10 of 20,000 reference samples lie outside"),
        # uncertain, negligible, or what the base has as well
        ((1e-15, 0.0, 20_000, 1.3e-4, 1e-4, 3.0), None),
        ((1e-15, 0.0, 20_000, 5e-6, 1e-7, 3.0), None),
        ((1e-15, 1e-4, 20_000), None),
        ((2e-4, 5e-4, 20_000, 1e-3, 1e-5, 3.0), None),
        ((2e-6, 0.0, 20_000, 5e-6, 1e-7, 3.0), None),
    ],
)
def test_the_doubt(arguments: tuple[float, ...], expected: str | None) -> None:
    line = box_doubt(*arguments)
    if expected is None:
        assert line is None
    else:
        assert line is not None
        assert expected in line
        assert "\n" not in line


def test_the_doubt_by_the_rows_of_a_table() -> None:
    def rows(level: int, predicted: float) -> list[EstimateRow]:
        return [
            EstimateRow(level, "outside_base", 1e-15),
            EstimateRow(level, "outside_reference", 0.0),
            EstimateRow(level, "reference_samples", 2000.0),
            EstimateRow(level, "outside_predicted", predicted, 0.1 * predicted),
            EstimateRow(level, "tail_dof", 3.0),
        ]

    ((line, share),) = box_doubts(rows(1, 1e-3))
    assert share == 1e-3
    assert line.startswith("1.0e-03 of the target")
    assert "3.0 degrees of freedom" in line
    assert box_doubts(rows(1, 1e-9)) == []
    assert box_doubts([EstimateRow(1, "ess", 0.5)]) == []
    ((line, _),) = box_doubts(rows(1, 0.0) + rows(2, 1e-3))
    assert line.startswith("level 2: ")


def test_what_raised_no_doubt_makes_none_grave() -> None:
    def rows(level: int, base: float, reference: float) -> list[EstimateRow]:
        values = {
            "outside_base": base,
            "outside_reference": reference,
            "reference_samples": 200_000.0,
        }
        return [EstimateRow(level, name, value) for name, value in values.items()]

    # of the third level more lies outside, as much as the base draws there
    flagged = rows(1, 1e-15, 5e-5)
    ((line, share),) = box_doubts([*flagged, *rows(3, 1e-4, 5e-4)])
    assert (line.startswith("level 1: "), share) == (True, 5e-5)
    doubts = doubts_about_flow([*flagged, *rows(3, 1e-4, 5e-4)])
    assert [doubt.grave for doubt in doubts if doubt.text == line] == [False]
    assert any(doubt.grave for doubt in doubts_about_flow(rows(1, 1e-15, 5e-4)))
