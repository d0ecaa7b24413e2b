"""Samples of flows whose weights are random, as points of an enlarged space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.pushing import refuse_nan
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.streams import Stream

__all__ = ["ExtendedTarget", "Points", "generated", "where"]


class Points(NamedTuple):
    """The numbers ``source`` [n, d] that base samples z are made of (``Base.made_of``), which are
    independent, those ``eps`` [n, m] that their weights take, and what the flows make of them:
    ``image``, of log weights ``log w(z, eps)``.
    """

    source: torch.Tensor
    eps: torch.Tensor
    image: Ensemble

    def rows(self, index: torch.Tensor) -> Points:
        """Some of the points."""
        return Points(self.source[index], self.eps[index], self.image.rows(index))


def where(which: torch.Tensor, those: Points, others: Points) -> Points:
    """Of each row [n] that of ``those``, or of ``others``."""

    def chosen(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.where(which[:, None] if a.ndim == 2 else which, a, b)

    return Points(
        chosen(those.source, others.source),
        chosen(those.eps, others.eps),
        Ensemble(*map(chosen, those.image, others.image)),
    )


class ExtendedTarget:
    """The density ``p(z) N(eps; 0, 1) w(z, eps)`` of flows ``f`` in turn, with
    ``w = exp(U_0(z) - U_M(f(z))) r(z, eps)``: where the mean of r over eps is ``|det df(z)|``, the
    samples f(z) have the target's density, and the mean of w is Z (Peng and Gao 2025, arXiv
    2407.10666).

    Parameters
    ----------
    batch : points that pass the flows at a time.
    where : how errors begin.
    tell : is told how many points have passed, a batch at a time.
    """

    def __init__(
        self,
        flows: Sequence[TransportMap],
        path: AnnealingPath,
        batch: int,
        where: str = "generate",
        tell: Callable[[int], None] = lambda n: None,
    ) -> None:
        assert path.base is not None
        self._flows, self._path, self._base = flows, path, path.base
        self._batch, self._where, self._tell = batch, where, tell

    @property
    def numbers(self) -> int:
        """m, of all flows together."""
        return sum(flow.normals for flow in self._flows)

    def drawn(self, n: int, stream: Stream) -> Points:
        """``n`` independent points of ``p(z) N(eps; 0, 1)``."""
        source = self._base.numbers(n, stream)
        return self.at(source, stream.normal(n, self.numbers, device=source.device))

    def redrawn(self, points: Points, share: float, stream: Stream) -> Points:
        """The points with some numbers drawn anew: each of the source with probability ``share``,
        and those of eps with the same, d of them at a time; at least one of all of them.
        """
        n, d = points.source.shape
        device = points.source.device
        u = stream.uniform(n, d, device=device)
        fresh_source = self._base.numbers(n, stream)
        u_eps = stream.uniform(n, -(-self.numbers // d), device=device)
        # which is independent of the points, so that the move is reversible
        below = torch.cat([u, u_eps], dim=1).amin(dim=1, keepdim=True).clamp(min=share)
        source = torch.where(u <= below, fresh_source, points.source)
        which = (u_eps <= below).repeat_interleave(d, dim=1)[:, : self.numbers]
        fresh = stream.normal(n, self.numbers, device=device)
        return self.at(source, torch.where(which, fresh, points.eps))

    def at(self, source: torch.Tensor, eps: torch.Tensor) -> Points:
        """The point (source, eps)."""
        return Points(source, eps, self.image(self._base.made_of(source), eps))

    def image(self, z: torch.Tensor, eps: torch.Tensor) -> Ensemble:
        """What the flows make of base samples ``z`` [n, d] with the numbers ``eps`` [n, m].

        Raises
        ------
        UserError : the energy of a sample is not a number.
        """
        parts = []
        for part in zip(*(torch.split(part, self._batch) for part in (z, eps)), strict=True):
            parts.append(generated(self._flows, self._path, *part))
            self._tell(len(part[0]))
        found = Ensemble(*map(torch.cat, zip(*parts, strict=True)))
        refuse_nan(found, self._where)
        return found


@torch.no_grad()
def generated(
    flows: Sequence[TransportMap], path: AnnealingPath, z: torch.Tensor, eps: torch.Tensor
) -> Ensemble:
    """Base samples [n, d] through all flows, with ``log w = U_base(z) - U_M(x) + log|det|``; where
    weights are random, with the numbers ``eps`` [n, m] of all flows.

    A sample in a wall, of infinite energy, gets weight 0.
    """
    assert path.base is not None
    x, log_weights = z, path.base.energy(z)
    own = torch.split(eps, [flow.normals for flow in flows], dim=1)
    for flow, normals in zip(flows, own, strict=True):
        x, log_det = flow.weighted(x, normals)
        log_weights = log_weights + log_det
    U_0, V = path.energies(x)
    log_weights = log_weights - (U_0 + V)
    return Ensemble(x, torch.where(torch.isfinite(log_weights), log_weights, -torch.inf), U_0, V)
