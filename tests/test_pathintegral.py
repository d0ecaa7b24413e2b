"""Ring polymers: modes, actions, the modes added to a flow's, and what is refused."""

import math

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.pathintegral.added_modes import AddedModes
from jeffreysflow.pathintegral.checks import check_bounded_below
from jeffreysflow.pathintegral.normal_modes import (
    frequencies,
    orthogonal_modes,
    to_beads,
    to_modes,
)
from jeffreysflow.pathintegral.ring_polymer import (
    RingPolymer,
    action,
    action_of_beads,
    log_mode_measure,
)
from jeffreysflow.potentials import Potential, get_potential, potential_names
from jeffreysflow.streams import Stream
from jeffreysflow.truth.matrix_multiplication import finite_bead_averages
from path_cases import WELL, exact_paths, turned_paths

TURNED = get_potential("quantum_double_well_2d", angle=0.6)


def random_modes(n: int, beads: int, d: int, beta: float) -> torch.Tensor:
    sd = (frequencies(beads, beta).square() + 1).rsqrt()
    return Stream(5, "modes", beads).normal(n, beads, d) * sd[:, None]


def log_mean(log_weights: torch.Tensor) -> tuple[float, float]:
    """Log of the mean weight and its standard error."""
    w = (log_weights - log_weights.max()).exp()
    error = float(w.std() / w.mean()) / math.sqrt(len(w))
    return float(w.mean().log() + log_weights.max()), error


@pytest.mark.parametrize("beads", [2, 4, 12, 64, 256])
def test_modes_are_orthogonal_and_springs_are_diagonal_in_them(beads: int) -> None:
    c = orthogonal_modes(beads)
    assert float((c.T @ c - torch.eye(beads)).abs().max()) < 1e-12
    beta = 0.7
    ring = 2 * torch.eye(beads) - torch.eye(beads).roll(1, 0) - torch.eye(beads).roll(-1, 0)
    springs = (beads / beta) ** 2 * c.T @ ring.double() @ c
    omega = frequencies(beads, beta)
    torch.testing.assert_close(springs, omega.square().diag(), rtol=1e-11, atol=1e-9)
    assert bool((omega.diff() >= -1e-12).all())


def test_there_and_back() -> None:
    x = Stream(1, "x").normal(5, 12, 3)
    xi = to_modes(x, 0.7)
    torch.testing.assert_close(to_beads(xi, 0.7), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(xi[:, 0], math.sqrt(0.7) * x.mean(dim=1))
    padded = torch.cat([xi[:, :5], torch.zeros(5, 7, 3)], dim=1)
    torch.testing.assert_close(to_beads(xi[:, :5], 0.7, 12), to_beads(padded, 0.7))


def test_low_modes_are_the_same_path_for_every_number_of_beads() -> None:
    xi = Stream(1, "path").normal(4, 7, 1)
    coarse, fine = to_beads(xi, 2.0, 8), to_beads(xi, 2.0, 32)
    torch.testing.assert_close(fine[:, ::4], coarse, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beads", [2, 8, 12])
@pytest.mark.parametrize("V", [WELL, TURNED], ids=["1d", "2d"])
def test_action_in_beads_is_action_in_modes(beads: int, V: Potential) -> None:
    beta = 1.7
    xi = random_modes(50, beads, V.dimension, beta)
    in_beads = action_of_beads(V, beta, to_beads(xi, beta))
    torch.testing.assert_close(action(V, beta, xi), in_beads, rtol=1e-11, atol=1e-10)
    # negative control: the modes of another temperature
    assert not torch.allclose(action(V, beta, xi), action_of_beads(V, beta, to_beads(xi, 1.6)))


@pytest.mark.parametrize("V", [WELL, TURNED], ids=["1d", "2d"])
@pytest.mark.parametrize("high", ["zero", "curvature"])
def test_ring_polymer_of_all_and_of_some_modes(V: Potential, high: str) -> None:
    beta, d = 1.3, V.dimension
    xi = random_modes(20, 8, d, beta)
    whole = RingPolymer(V, beta, 8, high=high)
    torch.testing.assert_close(whole.energy(xi.flatten(1)), action(V, beta, xi))
    part = RingPolymer(V, beta, 8, 5, high)
    assert part.dimension == 5 * d
    low = xi[:, :5].flatten(1)
    zeros = action(V, beta, torch.cat([xi[:, :5], torch.zeros(20, 3, d)], dim=1))
    added = part.energy(low) - zeros
    assert (high == "zero") == bool((added.abs() < 1e-9).all())
    sd = torch.tensor(part.base_sd).reshape(5, d)
    torch.testing.assert_close(
        sd.square().double(), (1 / (frequencies(8, beta)[:5].square() + 1))[:, None].expand(-1, d)
    )


@pytest.mark.parametrize("V", [WELL, TURNED], ids=["1d", "2d"])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_gradient_of_the_curvature_term(V: Potential, beta: float) -> None:
    ring = RingPolymer(V, beta, 12, 3, "curvature")
    x = random_modes(20, 12, V.dimension, beta)[:, :3].flatten(1)
    x[:, : V.dimension] += 0.3 * math.sqrt(beta)
    energy, gradient = ring.energy_and_gradient(x)
    with torch.no_grad():
        torch.testing.assert_close(ring.energy(x), energy)
        for i in range(ring.dimension):
            step = torch.zeros(ring.dimension, dtype=torch.float64)
            step[i] = 1e-5
            difference = (ring.energy(x + step) - ring.energy(x - step)) / 2e-5
            torch.testing.assert_close(gradient[:, i], difference, rtol=1e-5, atol=1e-4)


def test_single_precision_is_close_to_double() -> None:
    x = random_modes(50, 16, 1, 1.0)[:, :9].flatten(1)
    ring = RingPolymer(WELL, 1.0, 16, 9, "curvature")
    single = ring.energy(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ring.energy(x), rtol=1e-5, atol=1e-4)


def test_one_mode_is_classical() -> None:
    x = Stream(2, "x").normal(10, 1)
    ring = RingPolymer(WELL, 2.5, 2, 1)
    torch.testing.assert_close(ring.energy(x * math.sqrt(2.5)), 2.5 * WELL.energy(x))


@pytest.mark.parametrize("modes", [1, 4, 7])
def test_harmonic_modes_in_closed_form(modes: int) -> None:
    """Low modes drawn exactly, curvature above: every weight is Z_N; plain: their mean is."""
    beta, beads, w, d, n = 1.5, 12, 2.0, 2, 20_000
    V = get_potential("quantum_harmonic", frequency=w, dimension=d)
    stiffness = frequencies(beads, beta).square() + w**2
    z = Stream(3, "low").normal(n, modes, d)
    low = (z * stiffness[:modes, None].rsqrt()).flatten(1)
    log_q = (0.5 * (stiffness[:modes, None] / (2 * math.pi)).log() - 0.5 * z.square()).sum(
        dim=(1, 2)
    )
    exact = -0.5 * d * float((beta**2 / beads**2 * stiffness).log().sum())
    measure = log_mode_measure(beads, beta, d)
    for reference in ("plain", "curvature", 0.5):
        added = AddedModes(V, beta, beads, modes, reference)
        xi, log_p = added.sampled(low, Stream(4, "high"))
        torch.testing.assert_close(added.log_density(xi), log_p, rtol=0, atol=1e-9)
        log_z, error = log_mean(measure - action(V, beta, xi) - log_q - log_p)
        assert abs(log_z - exact) < 4.5 * error + 1e-9
        assert (error < 1e-9) == (reference == "curvature")
    wrong, error = log_mean(measure - action(V, beta, xi) - log_q - 1.02 * log_p)
    assert abs(wrong - exact) > 10 * error
    marginal = RingPolymer(V, beta, beads, modes, "curvature").energy(low)
    base = 0.5 * (2 * math.pi / (frequencies(beads, beta)[modes:].square() + 1)).log().sum() * d
    log_z, error = log_mean(measure + base - marginal - log_q)
    assert abs(log_z - exact) < 1e-9


@pytest.mark.parametrize(
    ("beta", "beads", "modes", "reference"),
    [
        (1.0, 8, 3, "plain"),
        (1.0, 8, 3, "curvature"),
        (4.0, 4, 1, "curvature"),
        (4.0, 4, 2, "curvature"),
    ],
)
def test_weights_of_a_known_map(beta: float, beads: int, modes: int, reference: str) -> None:
    """Low modes by an affine map: the mean weight is the exact partition function.

    At beta = 4 half of the centroids lie where the slowest added mode is guarded.
    """
    n = 100_000
    z = Stream(6, "known map").normal(n, modes)
    sd = torch.full((modes,), 0.35, dtype=torch.float64)
    sd[0] = math.sqrt(beta)
    log_q = -(0.5 * z.square() + sd.log() + 0.5 * math.log(2 * math.pi)).sum(dim=1)
    xi, log_p = AddedModes(WELL, beta, beads, modes, reference).sampled(z * sd, Stream(7, "high"))
    log_w = log_mode_measure(beads, beta, 1) - action(WELL, beta, xi) - log_q - log_p
    log_z, error = log_mean(log_w)
    assert error < 0.05
    assert abs(log_z - finite_bead_averages(WELL, beta, beads).log_Z) < 4.5 * error


@pytest.mark.parametrize("reference", ["plain", "curvature"])
def test_added_modes_in_two_dimensions_are_those_of_the_two_wells(reference: str) -> None:
    beta, beads, modes = 1.0, 12, 4
    u = random_modes(30, beads, 2, beta) + 0.4 * torch.eye(beads)[0, :, None].double()
    one = AddedModes(WELL, beta, beads, modes, reference)
    both = AddedModes(TURNED, beta, beads, modes, reference)
    expected = sum(one.log_density(u[..., i : i + 1]) for i in range(2))
    torch.testing.assert_close(both.log_density(turned_paths(u)), expected)
    single = RingPolymer(WELL, beta, beads, modes, "curvature")
    energies = sum(single.energy(u[:, :modes, i]) for i in range(2))
    pair = RingPolymer(TURNED, beta, beads, modes, "curvature")
    torch.testing.assert_close(pair.energy(turned_paths(u)[:, :modes].flatten(1)), energies)


def test_uniform_points_make_the_same_modes() -> None:
    added = AddedModes(TURNED, 1.0, 8, 3)
    low = random_modes(10, 8, 2, 1.0)[:, :3].flatten(1)
    normal = Stream(8, "z").normal(10, added.inputs)
    assert added.inputs == 10
    by_normal, by_uniform = (
        added.extended(low, normal),
        added.quantile(low, torch.special.ndtr(normal)),
    )
    for a, b in zip(by_normal, by_uniform, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(by_normal[0][:, :3].flatten(1), low)


def test_nothing_is_added_to_all_modes() -> None:
    xi = random_modes(10, 8, 2, 1.0)
    all_of_them, log_p = AddedModes(TURNED, 1.0, 8, 8).sampled(xi.flatten(1), Stream(9))
    assert torch.equal(all_of_them, xi)
    assert not log_p.any()


@pytest.mark.parametrize(
    ("high", "reference", "expected"),
    [
        ("zero", "plain", 0.88),
        ("zero", "curvature", 0.93),
        ("curvature", "plain", 0.91),
        ("curvature", "curvature", 0.98),
    ],
)
def test_efficiency_of_a_perfect_flow_on_eight_modes_of_32(
    high: str, reference: str, expected: float
) -> None:
    """ESS over samples of the flow is 1 / (E w E 1/w) over exact paths."""
    n, beads, modes = 8_000, 32, 8
    xi = to_modes(exact_paths(WELL, 1.0, beads, n, seed=3, points=201), 1.0)
    low = RingPolymer(WELL, 1.0, beads, modes, high).energy(xi[:, :modes].flatten(1))
    log_p = AddedModes(WELL, 1.0, beads, modes, reference).log_density(xi)
    log_w = low - action(WELL, 1.0, xi) - log_p
    ess = math.exp(-log_mean(log_w)[0] - log_mean(-log_w)[0])
    assert ess == pytest.approx(expected, abs=0.015)


class Given(Potential):
    def __init__(self, function: object, d: int = 1) -> None:
        super().__init__()
        self.function, self.domain = function, Domain.euclidean(d)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("beta", "beads", "modes", "message"),
    [
        (0.0, 8, 8, "beta must be positive and finite, found 0.0"),
        (-1.0, 8, 8, "beta must be positive and finite, found -1.0"),
        (math.nan, 8, 8, "beta must be positive"),
        (1.0, 7, 7, "beads must be even, 2 or more, found 7"),
        (1.0, 0, 1, "beads must be even, 2 or more, found 0"),
        (1.0, 8, 9, "modes must lie between 1 and the number of beads, 8, found 9"),
        (1.0, 8, 0, "modes must lie between 1 and the number of beads, 8, found 0"),
    ],
)
def test_rings_that_are_refused(beta: float, beads: int, modes: int, message: str) -> None:
    for make in (RingPolymer, AddedModes):
        with pytest.raises(UserError, match=message) as caught:
            make(WELL, beta, beads, modes)
        assert "\n" not in str(caught.value)


UNBOUNDED = {
    "cubic": Given(lambda x: x[:, 0] ** 3),
    "line": Given(lambda x: 0.1 * x[:, 0]),
    "inverted": Given(lambda x: -x.square().sum(dim=1)),
    "overflow": Given(lambda x: -x[:, 0].exp()),
    "logarithm": Given(lambda x: -torch.log1p(x.square()).sum(dim=1)),
    "saddle": Given(lambda x: x[:, 0] ** 2 - x[:, 1] ** 2, 2),
    "diagonal": Given(lambda x: x.square().sum(dim=1) + 4 * x[:, 0] * x[:, 1], 2),
}
BOUNDED = {
    "quartic": Given(lambda x: (x[:, 0] ** 2 - 100) ** 2 - 50 * x[:, 0]),
    "steep": Given(lambda x: x[:, 0] ** 80),
    "wide": Given(lambda x: 1e-6 * x[:, 0] ** 4 - x[:, 0] ** 2),
    "levels off": Given(lambda x: x[:, 0] ** 2 / (1 + x[:, 0] ** 2) + 1 / (1 + x[:, 0].abs())),
}


@pytest.mark.parametrize("case", UNBOUNDED)
def test_an_unbounded_potential_is_refused(case: str) -> None:
    with pytest.raises(UserError, match=f"{case}: the potential is unbounded below") as caught:
        check_bounded_below(UNBOUNDED[case], case)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", BOUNDED)
def test_a_bounded_potential_is_not_refused(case: str) -> None:
    check_bounded_below(BOUNDED[case], case)


@pytest.mark.parametrize("name", potential_names())
def test_no_energy_of_the_package_is_called_unbounded(name: str) -> None:
    V = get_potential(name)
    if V.domain.is_euclidean:
        check_bounded_below(V, name)
    else:
        with pytest.raises(UserError, match="without periodic coordinates"):
            check_bounded_below(V, name)
        with pytest.raises(UserError, match="without periodic coordinates"):
            RingPolymer(V, 1.0, 8)
