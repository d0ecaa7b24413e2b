"""Ensembles at the base, and through a flow to the next level."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.errors import UserError
from jeffreysflow.flows.directions import row_normals
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.streams import Stream

__all__ = ["base_ensemble", "pushed", "refuse_nan"]


def base_ensemble(path: AnnealingPath, n: int, stream: Stream) -> Ensemble:
    """``n`` exact base samples of equal weight; their ``U_0`` is the base's on every path."""
    assert path.base is not None
    x = path.base.sample(n, stream)
    with torch.no_grad():
        U_0, V = path.energies(x)
        if path.power:
            at_base = path.base.energy(x)
            U_0, V = at_base, U_0 + V - at_base
    return Ensemble(x, torch.zeros_like(U_0), U_0, V)


def refuse_nan(ensemble: Ensemble, where: str) -> None:
    """Stop at a sample whose energy is not a number: what lies there would be missing silently.

    Raises
    ------
    UserError : there is one; how many there are, and the first.
    """
    bad = (ensemble.V.isnan() | ensemble.V.isneginf()).nonzero()
    if len(bad):
        raise UserError(
            f"{where}: the energy of {len(bad)} of {len(ensemble.x)} samples is not a number, "
            f"first at x = {ensemble.x[int(bad[0])].tolist()}; give it a value there, or +inf "
            "where the density is zero"
        )


@torch.no_grad()
def pushed(
    flow: TransportMap,
    path: AnnealingPath,
    lam_0: float,
    lam_1: float,
    ensemble: Ensemble,
    batch: int,
    stream: Callable[[int], Stream] | None = None,
) -> tuple[Ensemble, torch.Tensor]:
    """The ensemble mapped through ``flow``, and the logarithms of its weight factors [n],

        ``log w = -U_1(F x) + U_0(x) + log|det dF(x)|``.

    Where weights are random (``TransportMap.weighted``), ``stream`` is that of the numbers of each
    tile of rows. A sample whose new energy is not finite gets weight 0.
    """
    parts, increments = [], []
    for start in range(0, len(ensemble.x), batch):
        x, log_weights, U_0, V = (field[start : start + batch] for field in ensemble)
        normals = row_normals(stream, start, len(x), flow.normals, x.device)
        y, log_det = flow.weighted(x, normals)
        new_U_0, new_V = path.energies(y)
        before, after = interpolated(U_0, V, lam_0), interpolated(new_U_0, new_V, lam_1)
        log_w = before - after + log_det
        log_w = torch.where(torch.isfinite(log_w), log_w, -torch.inf)
        parts.append(Ensemble(y, log_weights + log_w, new_U_0, new_V))
        refuse_nan(parts[-1], "distill")
        increments.append(log_w)
    return Ensemble(*map(torch.cat, zip(*parts, strict=True))), torch.cat(increments)
