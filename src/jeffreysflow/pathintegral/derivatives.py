"""Second derivatives of a potential, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.potentials import Potential

__all__ = ["curvature_along", "hessian"]


def hessian(V: Potential, x: torch.Tensor) -> torch.Tensor:
    """Second derivatives [n, d, d] of V at ``x`` [n, d]; differentiable where ``x`` is."""
    keep = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        y = x if keep else x.detach().requires_grad_()
        gradient = _derivative(V.energy(y).sum(), y, keep=True)
        rows = [_derivative(gradient[:, i].sum(), y, keep=True) for i in range(x.shape[1])]
    second = torch.stack(rows, dim=1)
    return second if keep else second.detach()


def curvature_along(
    V: Potential, x: torch.Tensor, direction: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Energies [n], gradients [n, d] and products ``H v`` [n, d] of the second derivatives with
    ``v = direction(gradients)`` [n, d]."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        energy = V.energy(y)
        gradient = _derivative(energy.sum(), y, keep=True)
        v = direction(gradient.detach())
        product = _derivative((gradient * v).sum(), y, keep=False)
    return energy.detach(), gradient.detach(), product


def _derivative(value: torch.Tensor, x: torch.Tensor, keep: bool) -> torch.Tensor:
    # a linear or constant function leaves nothing to differentiate
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        value, x, create_graph=keep, retain_graph=True, materialize_grads=True
    )
    return gradient
