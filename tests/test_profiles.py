"""Profiles: bins of an observable against exact probabilities."""

import math

import numpy as np
import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.observables import Observable, observable_values, parse_observable
from jeffreysflow.estimation.profiles import Profile, bin_scores, density, potential_of_mean_force
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.measured import Measured
from jeffreysflow.streams import Stream

BINS = 24
PROFILE = Profile(parse_observable("x2", 2), -2.5, 3.5, BINS)
EXACT = torch.special.ndtr(PROFILE.edges).diff()


def estimated(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bin probabilities of independent samples with their errors."""
    values = observable_values(PROFILE.indicators(), x, x[:, 0])
    return values.mean(dim=0), values.std(dim=0) / math.sqrt(len(x))


def test_bins_count_what_lies_inside() -> None:
    x = Stream(1).normal(10_000, 2)
    p, _ = estimated(x)
    counts = torch.histogram(x[:, 1], BINS, range=(-2.5, 3.5)).hist
    assert torch.equal((p * 10_000).round(), counts)
    assert float(p.sum()) < 1, "what lies outside is in no bin"
    names = [bin.name for bin in PROFILE.indicators()]
    assert (names[0], names[-1]) == ("profile:x2:0", f"profile:x2:{BINS - 1}")
    edge = torch.tensor([[0.0, -2.5], [0.0, 3.5], [0.0, -2.25]], dtype=torch.float64)
    inside = observable_values(PROFILE.indicators()[:2], edge, edge[:, 0])
    assert inside.tolist() == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("text", ["x2", "x1 * x2", "(x1 > 0) * x2", "2"])
@pytest.mark.parametrize(
    ("lower", "upper", "bins"), [(-2.5, 3.5, BINS), (0.1, 0.7, 3), (0, 1e-300, 5)]
)
def test_all_bins_at_once_are_their_indicators(
    text: str, lower: float, upper: float, bins: int
) -> None:
    profile = Profile(parse_observable(text, 2), lower, upper, bins)
    x = Stream(7).normal(5000, 2)
    edges, beyond = profile.edges, torch.tensor([-1e9, 1e9], dtype=torch.float64)
    at = torch.cat([edges, torch.nextafter(edges, beyond[:1]), torch.nextafter(edges, beyond[1:])])
    x = torch.cat([x, torch.stack([torch.ones_like(at), at], dim=1), torch.outer(beyond, beyond)])
    expected = observable_values(profile.indicators(), x, x[:, 0])
    found = profile.values(x, x[:, 0])
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
    assert all(bin.is_event for bin in profile.indicators())


def test_measuring_a_profile_evaluates_its_expression_once() -> None:
    calls = []

    def counted(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return x[:, 1]

    observable = parse_observable("x1", 2)
    profile = Profile(Observable("counted", counted), -2.5, 3.5, BINS)
    measured = Measured([observable], [profile, PROFILE])
    x = Stream(8).normal(300, 2)
    values = measured.values(x, x[:, 0])
    assert calls == [300]
    assert torch.equal(values, observable_values(measured.all, x, x[:, 0]))
    assert len(calls) == 1 + BINS, "the indicators evaluate it once a bin"
    # what is no number is still named
    with pytest.raises(UserError, match="not finite"):
        profile.values(x * torch.nan, x[:, 0])


def test_scores_of_exact_samples_are_standard_normal_and_others_are_not() -> None:
    def scores(shift: float) -> torch.Tensor:
        draws = [Stream(2, k).normal(4000, 2) + shift for k in range(40)]
        return torch.cat([bin_scores(*estimated(x), EXACT) for x in draws])

    exact = scores(0.0)
    assert float(exact.square().mean()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / len(exact)))
    assert float(exact.abs().max()) < 4.5
    assert float(scores(0.2).abs().max()) > 5


def test_a_bin_nobody_visited_counts_by_what_was_expected_in_it() -> None:
    x = Stream(3).normal(4000, 2)
    x[:, 1] = torch.where((x[:, 1] > 0) & (x[:, 1] < 0.25), 0.3, x[:, 1])
    p, error = estimated(x)
    z = bin_scores(p, error, EXACT)
    assert p[10] == error[10] == 0
    expected = 4000 * float(EXACT[10])
    assert float(z[10]) == pytest.approx(-math.sqrt(expected), rel=0.2)
    # none of half a sample that was due in the last bin says nothing
    assert abs(float(z[-1])) < 2
    assert bin_scores(torch.zeros(3), torch.zeros(3), torch.ones(3) / 3).isnan().all()


def test_a_sample_in_a_rare_bin_is_no_doubt_and_in_an_impossible_one_it_is() -> None:
    """Of many bins that are rarely met some are met once; the error of one sample is unknown."""
    m = 20_000
    for exact, largest in ((1e-6, 2.1), (1e-5, 1.0), (1e-10, 5.0)):
        p = torch.tensor([0.5, 1 / m]).double()
        error = torch.tensor([0.5 / math.sqrt(m), 0.0]).double()
        z = bin_scores(p, error, torch.tensor([0.5, exact]).double())
        assert 0 < float(z[1]) < largest or (exact < 1e-9 and float(z[1]) > 4.5)
    # over many runs the largest score of 100 rare bins is that of chance
    exact = torch.cat([torch.tensor([0.5]), torch.full((100,), 2e-6)]).double()
    worst = []
    for k in range(200):
        hits = torch.from_numpy(np.random.default_rng(k).poisson(m * exact[1:].numpy())).double()
        p = torch.cat([exact[:1], hits / m])
        error = torch.cat([torch.tensor([0.5 / math.sqrt(m)]).double(), torch.zeros(100).double()])
        worst.append(float(bin_scores(p, error, exact).max()))
    assert max(worst) < 4


def test_correlated_samples_have_scores_of_their_own_size() -> None:
    """Each sample 25 times over, with errors that know it: the empty bins must know it too."""
    x = Stream(4).normal(4000, 2)
    p, error = estimated(x)
    z = bin_scores(p, 5 * error, EXACT)
    torch.testing.assert_close(z, bin_scores(p, error, EXACT) / 5)


def test_errors_of_exact_values_count() -> None:
    p, error = estimated(Stream(5).normal(4000, 2))
    z = bin_scores(p, error, EXACT, error)
    assert (z.abs() < bin_scores(p, error, EXACT).abs()).all()


def test_density_and_potential_of_mean_force() -> None:
    width = float(PROFILE.edges.diff()[0])
    n = 400_000
    p, error = estimated(Stream(6).normal(n, 2))
    value, value_error = density(p, error, width)
    assert float((value * width).sum()) == pytest.approx(float(p.sum()))
    assert float(value_error[8]) == pytest.approx(float(error[8]) / width)
    pmf, pmf_error = potential_of_mean_force(p, error, width)
    z = (pmf + (EXACT / width).log()) / pmf_error
    assert float(z.abs().max()) < 4.5
    assert float(((pmf + EXACT.log()) / pmf_error).abs().min()) > 4.5, "a density, by width"
    empty, unknown = potential_of_mean_force(torch.zeros(1), torch.zeros(1), width)
    assert (float(empty), math.isnan(float(unknown))) == (math.inf, True)


CONTENT = {
    "name": "x",
    "title": "t",
    "scale": "test",
    "seed": 1,
    "potential": {"name": "three_well"},
    "references": {
        "r": {
            "ladder": {"kind": "fixed", "values": [0, 1]},
            "walkers": 2,
            "warmup_rounds": 0,
            "rounds": 4,
        }
    },
    "flows": {"f": {"reference": "r", "theta": 0.5}},
}
X1 = {"expression": "x1", "lower": -1, "upper": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profiles": [{**X1, "upper": -2}]}, r"profiles\.0: lower < upper, found -1\.0 and -2\.0"),
        ({"profiles": [{**X1, "bins": 1}]}, r"profiles\.0\.bins: .*found 1"),
        ({"profiles": [{**X1, "kind": "pfm"}]}, r"profiles\.0\.kind: .*'pmf', found 'pfm'"),
        ({"profiles": [{**X1, "expresion": "x1"}]}, r"profiles\.0: unknown key 'expresion'"),
        ({"profiles": [X1, X1]}, "profiles: 'x1' is there twice"),
        ({"views": [["x1"]]}, r"views\.0"),
    ],
)
def test_mistakes_of_the_configuration_are_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        validated(Experiment, {**CONTENT, **changes}, "x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"profiles": [{**X1, "expression": "x3"}]}, {"views": [["x1", "x3"]]}]
)
def test_unknown_coordinates_are_found_before_any_work(changes: dict[str, object]) -> None:
    check_experiment(validated(Experiment, {**CONTENT, "profiles": [X1]}, "x.yaml"))
    with pytest.raises(UserError, match="there is no coordinate 'x3', the last is 'x2'"):
        check_experiment(validated(Experiment, {**CONTENT, **changes}, "x.yaml"))


def test_what_is_shown_is_no_part_of_what_is_trained() -> None:
    plain = validated(Experiment, CONTENT, "x.yaml")
    shown = validated(Experiment, {**CONTENT, "profiles": [X1], "views": [["x1", "x2"]]}, "x.yaml")
    pmf = validated(Experiment, {**CONTENT, "profiles": [{**X1, "kind": "pmf"}]}, "x.yaml")
    for hash in ("flow_hash", "generation_hash"):
        assert getattr(plain, hash)("f") == getattr(shown, hash)("f")
    assert len({e.estimate_hash() for e in (plain, shown, pmf)}) == 3
    assert shown.truth_hash() == pmf.truth_hash() != plain.truth_hash()
