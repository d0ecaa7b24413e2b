"""Energies of positions that another program computes, one configuration at a time."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from jeffreysflow.errors import UserError, described
from jeffreysflow.userfiles.workers import RaisedInWorkerError, Workers

__all__ = ["Evaluate", "OtherProgram"]

Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Energy (kJ/mol) and its gradient [3 atom] (kJ/mol/nm) of positions [3 atom] in nm."""


class OtherProgram(nn.Module):
    """Energies [n], kJ/mol, of positions [atom, 3, n] in nm, with gradients of first order.

    An energy that is not a number is +inf: a configuration that the program has no answer to.

    Parameters
    ----------
    name : how errors call it.
    evaluate : in this process; not called where there are several ``workers``, which run
        ``module`` and read ``told`` from a file.
    """

    def __init__(
        self, name: str, evaluate: Evaluate, module: str = "", told: str = "", workers: int = 1
    ) -> None:
        super().__init__()
        self._name, self._evaluate = name, evaluate
        self._workers: Workers | None = None
        if workers > 1:
            descriptor, file = tempfile.mkstemp(prefix="jeffreysflow")
            with os.fdopen(descriptor, "w") as opened:
                opened.write(told)
            weakref.finalize(self, os.unlink, file)
            self._workers = Workers(file, workers, module)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        energy: torch.Tensor = _OwnGradient.apply(r, self)  # type: ignore[no-untyped-call]
        return energy

    def energies_and_gradients(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and gradients [n, 3 atom] of positions [n, 3 atom].

        Raises
        ------
        UserError : the program raised.
        """
        try:
            pairs = self._pairs(rows)
        except RaisedInWorkerError as error:
            raise UserError(f"{self._name}: {error}") from error
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self._name}: {described(error)}") from error
        energies = np.array([float(energy) for energy, _ in pairs])
        gradients = np.array([np.asarray(gradient) for _, gradient in pairs]).reshape(rows.shape)
        bad = ~(np.isfinite(energies) & np.isfinite(gradients).all(axis=1))
        energies[bad], gradients[bad] = np.inf, 0.0
        return energies, gradients

    def _pairs(self, rows: np.ndarray) -> Sequence[Any]:
        if self._workers is None:
            return [self._evaluate(row) for row in rows]
        return self._workers.map_rows("evaluate", rows)


class _OwnGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: torch.Tensor, program: OtherProgram) -> torch.Tensor:
        rows = r.detach().double().flatten(0, 1).T.cpu().numpy().copy()
        energies, gradients = program.energies_and_gradients(rows)
        gradient = torch.from_numpy(gradients.T.copy()).reshape(r.shape).to(r)
        ctx.save_for_backward(gradient)
        return torch.from_numpy(energies).to(r)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_energy: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = cast(tuple[torch.Tensor], ctx.saved_tensors)
        return gradient * grad_energy, None
