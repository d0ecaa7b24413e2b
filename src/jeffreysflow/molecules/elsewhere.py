"""Energies of positions that another program computes, one configuration at a time."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import nn
from torch.autograd.function import once_differentiable

from jeffreysflow.errors import UserError, described
from jeffreysflow.userfiles.workers import RaisedInWorkerError, Workers

__all__ = ["OtherProgram", "Program"]

_CLASH = 0.05
"""nm. The shortest bond there is, that of H2, has .074; atoms that are closer are no molecule, and
what a program has no number for there is a wall."""


class Program(Protocol):
    """What answers, for positions [3 atom] in nm; NaN where it has no answer."""

    def energy(self, row: np.ndarray) -> float:
        """kJ/mol."""

    def energy_and_gradient(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        """kJ/mol, and kJ/mol/nm [3 atom]."""


class OtherProgram(nn.Module):
    """Energies [n], kJ/mol, of positions [atom, 3, n] in nm, with gradients of first order, for
    which it is asked only where there is something to differentiate.

    +inf is a wall. Where the program has no answer, an energy or a gradient that is no finite
    number, the energy is NaN, so that all that meets it says so; but +inf where two atoms are
    closer than .05 nm.

    Parameters
    ----------
    name : how errors call it.
    program : in this process; not asked where there are several ``workers``, which run
        ``module`` and read ``told`` from a file.
    """

    def __init__(
        self, name: str, program: Program, module: str = "", told: str = "", workers: int = 1
    ) -> None:
        super().__init__()
        self._name, self._program = name, program
        self._workers: Workers | None = None
        if workers > 1:
            descriptor, file = tempfile.mkstemp(prefix="jeffreysflow")
            with os.fdopen(descriptor, "w") as opened:
                opened.write(told)
            weakref.finalize(self, os.unlink, file)
            self._workers = Workers(file, workers, module)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and r.requires_grad:
            return cast(torch.Tensor, _OwnGradient.apply(r, self))  # type: ignore[no-untyped-call]
        return torch.from_numpy(self.energies(_rows(r))).to(r)

    def energies(self, rows: np.ndarray) -> np.ndarray:
        """Energies [n] of positions [n, 3 atom].

        Raises
        ------
        UserError : the program raised.
        """
        energies = np.array([float(energy) for energy in self._answers("energy", rows)])
        no_answer = ~(np.isfinite(energies) | np.isposinf(energies))
        energies[no_answer] = _without_answer(rows[no_answer])
        return energies

    def energies_and_gradients(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and gradients [n, 3 atom] of positions [n, 3 atom].

        Raises
        ------
        UserError : the program raised.
        """
        pairs = self._answers("energy_and_gradient", rows)
        energies = np.array([float(energy) for energy, _ in pairs])
        gradients = np.array([np.asarray(gradient) for _, gradient in pairs]).reshape(rows.shape)
        wall = np.isposinf(energies)
        no_answer = ~(wall | (np.isfinite(energies) & np.isfinite(gradients).all(axis=1)))
        energies[no_answer] = _without_answer(rows[no_answer])
        gradients[~np.isfinite(energies)] = 0.0
        gradients[np.isnan(energies)] = np.nan
        return energies, gradients

    def _answers(self, question: str, rows: np.ndarray) -> Sequence[Any]:
        try:
            if self._workers is None:
                return [getattr(self._program, question)(row) for row in rows]
            return self._workers.map_rows(question, rows)
        except RaisedInWorkerError as error:
            raise UserError(f"{self._name}: {error}") from error
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self._name}: {described(error)}") from error


def _rows(r: torch.Tensor) -> np.ndarray:
    """[n, 3 atom] of [atom, 3, n]."""
    rows: np.ndarray = r.detach().double().flatten(0, 1).T.cpu().numpy().copy()
    return rows


def _without_answer(rows: np.ndarray) -> np.ndarray:
    """+inf where atoms of positions [n, 3 atom] clash, NaN elsewhere."""
    closest = [pdist(row.reshape(-1, 3)).min(initial=np.inf) for row in rows]
    return np.where(np.array(closest) < _CLASH, np.inf, np.nan)


class _OwnGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: torch.Tensor, program: OtherProgram) -> torch.Tensor:
        energies, gradients = program.energies_and_gradients(_rows(r))
        gradient = torch.from_numpy(gradients.T.copy()).reshape(r.shape).to(r)
        ctx.save_for_backward(gradient)
        return torch.from_numpy(energies).to(r)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_energy: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = cast(tuple[torch.Tensor], ctx.saved_tensors)
        return gradient * grad_energy, None
