"""The four sources: against a solve of all 1,681 equations, and their relabelings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.potentials.energies.screened_poisson_8d import ScreenedPoisson8d
from jeffreysflow.streams import Stream

NODES, SPACING = 41, 1 / 40
TRUE = torch.tensor([[0.22, 0.28, 0.28, 0.72, 0.72, 0.22, 0.78, 0.78]], dtype=torch.float64)


def operator(boundary: str) -> tuple[scipy.sparse.csc_matrix, np.ndarray]:
    """-Laplace + 1 on the nodes that are free, and which those are [41, 41]."""
    free = np.ones((NODES, NODES), dtype=bool)
    if boundary == "dirichlet":
        free[[0, -1]] = free[:, [0, -1]] = False
    number = np.full((NODES, NODES), -1)
    number[free] = np.arange(free.sum())
    matrix = scipy.sparse.lil_matrix((free.sum(), free.sum()))
    for i, j in np.argwhere(free):
        matrix[number[i, j], number[i, j]] = 1.0
        for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if not (0 <= k < NODES and 0 <= m < NODES):
                continue
            matrix[number[i, j], number[i, j]] += 1 / SPACING**2
            if free[k, m]:
                matrix[number[i, j], number[k, m]] = -1 / SPACING**2
    return matrix.tocsc(), free


def source(theta: np.ndarray) -> np.ndarray:
    t = np.arange(NODES) * SPACING
    offsets = [(t[:, None] - a) ** 2 + (t - b) ** 2 for a, b in theta.reshape(4, 2)]
    return np.exp(-np.array(offsets) / (2 * 0.1**2)).sum(axis=0)


def solved(thetas: torch.Tensor, boundary: str) -> torch.Tensor:
    matrix, free = operator(boundary)
    factors = scipy.sparse.linalg.splu(matrix)
    fields = np.zeros((len(thetas), NODES, NODES))
    for field, theta in zip(fields, thetas.numpy(), strict=True):
        field[free] = factors.solve(source(theta)[free])
    return torch.from_numpy(fields)


def poisson(**parameters: object) -> ScreenedPoisson8d:
    potential = get_potential("screened_poisson_8d", **parameters)
    assert isinstance(potential, ScreenedPoisson8d)
    return potential


@pytest.mark.parametrize(("boundary", "worst"), [("neumann", 7e-5), ("dirichlet", 3e-4)])
def test_all_modes_solve_the_equations_and_20_nearly(boundary: str, worst: float) -> None:
    theta = torch.cat([TRUE, Stream(1, "sources").uniform(30, 8), torch.zeros(1, 8)])
    exact = solved(theta, boundary)
    full, some = poisson(boundary=boundary, modes=41), poisson(boundary=boundary)
    torch.testing.assert_close(full.solution(theta), exact, rtol=1e-11, atol=1e-13)
    errors = (some.solution(theta) - exact).abs().amax(dim=(1, 2))
    assert float(errors[0]) < 5e-6
    assert float(errors.max()) < worst
    few = poisson(boundary=boundary, modes=10).solution(TRUE)
    assert float((few - exact[:1]).abs().max()) > 5e-6
    np.testing.assert_allclose(full.source(theta)[5], source(theta[5].numpy()), rtol=1e-12)
    torch.testing.assert_close(
        some.sensors(theta), some.solution(theta)[:, 4:-1:4, 4:-1:4].flatten(1)
    )


def test_the_field_of_the_true_sources() -> None:
    u = poisson(modes=41).solution(TRUE)[0]
    assert [float(u.min()), float(u.max())] == pytest.approx([0.23084, 0.24131], abs=5e-6)
    found = [float(u[i, j]) for i, j in ((4, 4), (20, 20), (36, 20))]
    assert found == pytest.approx([0.235773, 0.235040, 0.233465], abs=5e-7)
    walls = poisson(modes=41, boundary="dirichlet").solution(TRUE)[0]
    assert [float(walls.max()), float(walls[20, 20])] == pytest.approx(
        [0.018665, 0.016593], abs=5e-7
    )
    assert not bool(walls[[0, -1]].any())
    assert tuple(TRUE[0].tolist()) == poisson().true_sources


@pytest.mark.parametrize(("sd", "modes"), [(0.02, 20), (0.002, 41)])
def test_the_energy_is_that_of_the_sensors(sd: float, modes: int) -> None:
    theta = torch.cat([TRUE, Stream(2, "sources").uniform(5, 8)])
    exact = solved(theta, "neumann")[:, 4:-1:4, 4:-1:4].flatten(1)
    noise = torch.from_numpy(np.random.default_rng(27).standard_normal(81))
    expected = (0.5 * ((exact - exact[0] - sd * noise) / sd).square()).sum(dim=1)
    found = poisson(sd=sd, modes=modes).energy(theta)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 if modes == 41 else 0.01)
    assert float(found[0]) == pytest.approx(0.5 * float(noise.square().sum()), rel=1e-3)


def test_20_modes_are_too_few_for_the_sharp_variant() -> None:
    theta = Stream(3, "sources").uniform(200, 8)
    off = poisson(sd=0.002).energy(theta) - poisson(sd=0.002, modes=41).energy(theta)
    assert float(off.abs().max()) > 0.05
    fine = poisson().energy(theta) - poisson(modes=41).energy(theta)
    assert float(fine.abs().max()) < 0.01


def test_interchanged_sources_are_the_same_field_in_another_order() -> None:
    potential = poisson()
    for k, order in enumerate(permutations(range(4))):
        # source j lies at the true place order[j]
        theta = TRUE.reshape(4, 2)[list(order)].reshape(1, 8)
        near = theta + 0.05 * Stream(4, "near").normal(1, 8)
        assert int(potential.relabeling(near)) == k
        assert float(potential.observables[f"order_{k + 1}"](near)) == 1
        torch.testing.assert_close(potential.energy(theta), potential.energy(TRUE))
    x = Stream(5, "anywhere").uniform(500, 8)
    shares = torch.stack([each(x) for each in potential.observables.values()])
    assert bool((shares.sum(dim=0) == 1).all())
    assert len(shares) == 24


def test_a_solve_gives_all_terms() -> None:
    potential = poisson()
    assert potential.terms == potential.terms_a_solve == 81
    assert potential.domain.walls == ((0.0, 1.0),) * 8


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"sd": 0}, "sd must be positive, found 0"),
        ({"boundary": "neuman"}, "did you mean 'neumann'"),
        ({"modes": 42}, "modes must be 1 to 41, found 42"),
        ({"modes": 0}, "modes must be 1 to 41, found 0"),
    ],
)
def test_parameters_out_of_range_are_one_line(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        poisson(**parameters)


def test_the_gradient_by_hand_is_the_automatic_one() -> None:
    potential = poisson()
    x = Stream(6, "sources").uniform(20, 8)
    for by_hand, automatic in zip(
        potential.energy_and_gradient(x), Potential.energy_and_gradient(potential, x), strict=True
    ):
        torch.testing.assert_close(by_hand, automatic, rtol=1e-10, atol=1e-10)
