"""MBAR on Gaussians at several temperatures: closed forms, and the library as an oracle."""

import math

import pytest
import torch

from jeffreysflow.estimation.mbar import log_ratios, reweighted
from jeffreysflow.streams import Stream

LAM = (0.25, 0.5, 1.0)
DRAWS, WALKERS = 60, 16


def samples(seed: int = 1, draws: int = DRAWS) -> tuple[torch.Tensor, torch.Tensor]:
    """x [K, draw, walker, 2] of exp(-lambda V) and V = |x|^2 / 2 + 100."""
    stream = Stream(seed, "mbar")
    x = torch.stack([stream.normal(draws, WALKERS, 2) / math.sqrt(lam) for lam in LAM])
    return x, 0.5 * x.square().sum(-1) + 100.0


def test_gaussians_have_their_closed_forms() -> None:
    x, V = samples()
    at = [0.3, 0.5, 0.8, 1.0]
    values = torch.stack([V, (x[..., 0] > 1).double()], dim=-1)
    found = reweighted(V, values, LAM, at)
    for i, lam in enumerate(at):
        exact = 100 + 1 / lam, 0.5 * math.erfc(math.sqrt(lam / 2))
        for j, value in enumerate(exact):
            assert abs(float(found.means[i, j]) - value) < 4 * float(found.errors[i, j])
            assert float(found.errors[i, j]) < 0.12 * (value - (100 if j == 0 else 0))
        if lam == 1:
            assert float(found.log_z[i]) == 0
            continue
        log_z = -math.log(lam) + 100 * (1 - lam)
        assert abs(float(found.log_z[i]) - log_z) < 4 * float(found.log_z_errors[i])
    assert float(found.ess.max()) < 1
    # the control: without the other levels a temperature in between is another one
    alone = values[2].flatten(0, 1).mean(dim=0)
    assert abs(float(alone[0]) - (100 + 1 / 0.5)) > 10 * float(found.errors[1, 0])


def test_errors_cover_the_spread_of_many_runs() -> None:
    scores = []
    for seed in range(40):
        x, V = samples(seed + 10, draws=12)
        found = reweighted(V, (x[..., :1] > 1).double(), LAM, [1.0])
        scores.append(float((found.means - 0.5 * math.erfc(math.sqrt(0.5))) / found.errors))
    assert abs(torch.tensor(scores).square().mean() - 1) < 4 * math.sqrt(2 / 40)


def test_it_agrees_with_the_library() -> None:
    mbar = pytest.importorskip("pymbar")
    _, V = samples()
    flat = V.flatten().numpy()
    u = torch.tensor(LAM)[:, None].numpy() * flat
    oracle = mbar.MBAR(u, [DRAWS * WALKERS] * len(LAM), solver_protocol="robust")
    found = log_ratios(V.flatten(1), torch.tensor(LAM).double())
    assert found.tolist() == pytest.approx((-oracle.f_k + oracle.f_k[0]).tolist(), abs=1e-6)


def test_walls_and_the_base_are_no_trouble() -> None:
    stream = Stream(3, "walls")
    base = stream.normal(50, 16)
    V = torch.stack([torch.where(base > 0, 0.0, math.inf), torch.zeros(50, 16)]).double()
    found = log_ratios(V.flatten(1), torch.tensor([0.0, 1.0]).double())
    inside = float((base > 0).double().mean())
    # half of the base is a wall of the target, all samples of which lie outside it
    assert math.exp(float(found[1])) == pytest.approx(inside, abs=0.05)


def test_levels_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="too little in common"):
        log_ratios(torch.full((2, 30), math.inf).double(), torch.tensor([0.5, 1.0]).double())


def test_few_walkers_leave_out_parts_of_the_run_and_fewer_draws_tell_nothing() -> None:
    x, V = samples()
    few = reweighted(V[:, :, :2], x[:, :, :2, :1], LAM, [1.0])
    assert float(few.errors) > 0
    none = reweighted(V[:, :5, :2], x[:, :5, :2, :1], LAM, [1.0])
    assert math.isnan(float(none.errors))


def test_a_large_constant_in_the_energies_costs_no_digits() -> None:
    x, V = samples()
    plain = reweighted(V, x[..., :1], LAM, [0.3, 1.0])
    far = reweighted(V + 1e8, x[..., :1], LAM, [0.3, 1.0])
    torch.testing.assert_close(far.means, plain.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(far.errors, plain.errors, rtol=1e-5, atol=0)
    shift = 1e8 * (1 - torch.tensor([0.3, 1.0], dtype=torch.float64))
    torch.testing.assert_close(far.log_z - shift, plain.log_z, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("lam", "connected"), [((0.25, 0.9, 1.0), False), ((0.8, 0.9, 1.0), True)])
def test_levels_that_nothing_joins_have_no_averages(
    lam: tuple[float, ...], connected: bool
) -> None:
    """Of 300 coordinates: any free energy solves the equations where no sample is of both."""
    stream = Stream(3, "apart")
    x = torch.stack([stream.normal(60, 8, 300) / math.sqrt(each) for each in lam])
    V = 0.5 * x.square().sum(-1)
    if not connected:
        with pytest.raises(ValueError, match="too little in common"):
            reweighted(V, V[..., None], lam, [1.0])
        return
    found = reweighted(V, V[..., None], lam, lam)
    exact = -150 * math.log(lam[0])
    assert abs(float(found.log_z[0]) - exact) < 4 * float(found.log_z_errors[0])


def two_states(seed: int, draws: int, walkers: int, stay: float = 0.99) -> torch.Tensor:
    """0 or 1, each as often, [2, draw, walker] at two levels that do not differ in energy."""
    moved = Stream(seed, "two states").uniform(2, draws, walkers) > stay
    moved[:, 0] = Stream(seed, "first").uniform(2, walkers) > 0.5
    return (moved.cumsum(dim=1) % 2).double()


def test_few_walkers_that_hardly_moved_have_no_error() -> None:
    """Where 16 parts of the run were taken for independent, the error was .07 instead of .17."""
    for seed in range(10):
        x = two_states(seed, 400, 1)
        found = reweighted(torch.zeros_like(x), x[..., None], [0.5, 1.0], [1.0])
        assert math.isnan(float(found.errors))
    scores = []
    for seed in range(40):
        x = two_states(seed, 1000, 2, stay=0.8)
        found = reweighted(torch.zeros_like(x), x[..., None], [0.5, 1.0], [1.0])
        assert float(found.dof) >= 5
        scores.append(float((found.means - 0.5) / found.errors))
    assert abs(torch.tensor(scores).square().mean() - 1) < 4 * math.sqrt(2 / 40)


def test_an_event_that_one_walker_met_has_no_error() -> None:
    stream = Stream(2, "rare")
    V = stream.normal(2, 100, 16).square()
    x = torch.zeros(2, 100, 16, 1).double()
    x[1, 40:45, 3] = 1.0
    assert math.isnan(float(reweighted(V, x, [0.9, 1.0], [1.0]).errors))
    # as many by chance, of all walkers
    x = (stream.uniform(2, 100, 16, 1) > 0.99).double()
    found = reweighted(V, x, [0.9, 1.0], [1.0])
    assert float(found.errors) > 0
    assert 5 <= float(found.dof) <= 15
    # of a single walker, each draw for itself
    x = torch.zeros(2, 400, 1, 1).double()
    x[1, [40, 200, 333]] = 1.0
    V = stream.normal(2, 400, 1).square()
    assert math.isnan(float(reweighted(V, x, [0.9, 1.0], [1.0]).errors))
