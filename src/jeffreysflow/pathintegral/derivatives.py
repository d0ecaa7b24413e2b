"""Second derivatives of a potential, by automatic differentiation."""

from __future__ import annotations

from typing import NamedTuple

import torch

from jeffreysflow.potentials import Potential

__all__ = ["BeadDerivatives", "bead_derivatives", "hessian", "slope"]


def hessian(V: Potential, x: torch.Tensor) -> torch.Tensor:
    """Second derivatives [n, d, d] of V at ``x`` [n, d]; differentiable where ``x`` is."""
    keep = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        y = x if keep else x.detach().requires_grad_()
        gradient = _derivative(V.energy(y).sum(), y, keep=True)
        rows = [_derivative(gradient[:, i].sum(), y, keep=True) for i in range(x.shape[1])]
    second = torch.stack(rows, dim=1)
    return second if keep else second.detach()


class BeadDerivatives(NamedTuple):
    """Of V at all beads of n paths, with ``q_j = x_j - xbar`` the distance from the centroid and H
    the second derivatives: energies [n N], gradients, ``H q`` and ``H grad V`` [n N, d].
    """

    energy: torch.Tensor
    gradient: torch.Tensor
    along_path: torch.Tensor
    along_gradient: torch.Tensor


def bead_derivatives(V: Potential, x: torch.Tensor) -> BeadDerivatives:
    """Derivatives of V along paths ``x`` [n, N, d], from one evaluation of V."""
    q = (x - x.mean(dim=1, keepdim=True)).flatten(0, 1)
    with torch.enable_grad():
        y = x.detach().flatten(0, 1).requires_grad_()
        energy = V.energy(y)
        gradient = _derivative(energy.sum(), y, keep=True)
        along_path = _derivative((gradient * q).sum(), y, keep=True)
        along_gradient = _derivative((gradient * gradient.detach()).sum(), y, keep=False)
    fields = (energy, gradient, along_path, along_gradient)
    return BeadDerivatives(*(field.detach() for field in fields))


def slope(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Gradients [m, d] of values [m], each of its own row of ``x`` [m, d]; 0 for a step. The graph
    is kept for other values.
    """
    if not values.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        values.sum(), x, retain_graph=True, materialize_grads=True, allow_unused=True
    )
    return gradient


def _derivative(value: torch.Tensor, x: torch.Tensor, keep: bool) -> torch.Tensor:
    # a linear or constant function leaves nothing to differentiate
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        value, x, create_graph=keep, retain_graph=True, materialize_grads=True
    )
    return gradient
