"""Sums over the pairs of each atom, of few atoms and of many."""

import pytest
import torch

from jeffreysflow.molecules import born
from jeffreysflow.molecules.born import Obc
from jeffreysflow.molecules.nonbonded import PairDistances
from jeffreysflow.molecules.pair_sums import DENSE_ATOMS, PairSums


def given(atoms: int, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = atoms * (atoms - 1) // 2
    generator = torch.Generator().manual_seed(atoms)
    both = torch.randn(2, pairs, n, generator=generator, dtype=torch.float64)
    return both[0], both[1]


@pytest.mark.parametrize("dense_atoms", [0, DENSE_ATOMS])
@pytest.mark.parametrize("atoms", [2, 3, 9])
def test_each_atom_has_the_sum_over_its_pairs(atoms: int, dense_atoms: int) -> None:
    first, second = given(atoms)
    expected = torch.zeros(atoms, 3).double()
    for row, (i, j) in enumerate(torch.triu_indices(atoms, atoms, offset=1).T.tolist()):
        expected[i] += first[row]
        expected[j] += second[row]
    found = PairSums(atoms, dense_atoms)(first, second)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def solvated(atoms: int) -> Obc:
    charges = [0.4 * (-1) ** atom for atom in range(atoms)]
    return Obc(charges, [0.15 + 0.001 * (i % 7) for i in range(atoms)], [0.8] * atoms, 78.5, 1, 2.0)


def test_energies_forces_and_curvatures_do_not_depend_on_the_layout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms = 12
    dense = solvated(atoms)
    monkeypatch.setattr(born, "PairSums", lambda atoms: PairSums(atoms, 0))
    many = solvated(atoms)
    generator = torch.Generator().manual_seed(5)
    r = torch.randn(atoms, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    distances = PairDistances(atoms, 0.02)
    found = []
    for term in (dense, many):
        energy = term(distances(r))
        (gradient,) = torch.autograd.grad(energy.sum(), r, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.square().sum(), r)
        found.append((energy.detach(), gradient.detach(), curvature))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-9)


def test_many_atoms_take_no_more_memory_than_their_pairs() -> None:
    """The matrix of 1,000 atoms would have 8 GB."""
    for atoms, most in ((DENSE_ATOMS + 1, 10), (1000, 10)):
        sums = PairSums(atoms)
        pairs = atoms * (atoms - 1) // 2
        assert sum(each.numel() for each in sums.buffers()) < most * pairs
    first, second = given(1000, n=1)
    total = (first + second).sum()
    assert float(sums(first, second).sum()) == pytest.approx(float(total), abs=1e-7)
