"""Energies of another program that has no answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jeffreysflow.molecules.elsewhere import OtherProgram


@pytest.mark.parametrize("place", ["energy", "gradient", "infinite energy"])
def test_no_answer_is_an_infinite_energy_without_a_pull(place: str) -> None:
    def evaluate(row: np.ndarray) -> tuple[float, np.ndarray]:
        energy, gradient = 0.5 * float(row @ row), row.copy()
        if row[0] > 1:
            energy = {"energy": np.nan, "infinite energy": np.inf}.get(place, energy)
            gradient[2] = np.nan if place == "gradient" else gradient[2]
        return energy, gradient

    r = torch.tensor([[0.5, 0.1, -0.2], [2.0, 0.1, -0.2]]).double().T.unsqueeze(0)
    r.requires_grad_()
    energy = OtherProgram("stub", evaluate)(r)
    assert energy.tolist() == [pytest.approx(0.15), float("inf")]
    (gradient,) = torch.autograd.grad(energy.sum(), r)
    assert gradient[0].T.tolist() == [pytest.approx([0.5, 0.1, -0.2]), [0.0, 0.0, 0.0]]
