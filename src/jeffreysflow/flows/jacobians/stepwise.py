"""Flow perturbation step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.principal_groups import principal_groups
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import Jacobian, unit_rows

_SAMPLES_A_CLUSTER = 4
_PASSES_A_STEP = 400
"""Of each cluster, unless a single sample takes more."""


class Stepwise(Jacobian):
    """``log r = -D sum_k log|J_k e_k|``, with ``J_k`` the Jacobian of the inverse of step k, taken
    where the step ends, and ``e_k`` uniform on the sphere, another one in each step (Peng and Gao
    2026, arXiv 2601.21177).

    ``E |J e|^-D = 1/|det J|`` for every matrix J: the volume of the ball that J maps, in polar
    coordinates. So r has the mean ``|det df(z)|``. One product with a vector a step. Its variance
    is ``2 h^2 sum_k |S_k - tr(S_k) / D|^2`` for short steps h, S the symmetric part of the gradient
    of the velocity: it falls as 1/K, and grows as D where a target is narrow in some directions.

    With ``clusters``, e_k is uniform on an ellipsoid instead, ``e_k = B^-1 u_k`` with u_k on the
    sphere, and ``-log|det B|`` is added in each step. That is unbiased for every matrix B that does
    not depend on u_k, and free of variance where it is J_k. Base samples are clustered by where the
    flow carries them, and B is the mean of J_k over a few samples of the cluster. Two products with
    matrices a step, and D passes for each of those few.

    Parameters
    ----------
    directions : of each step, orthogonal to each other, whose mean ``|J e|^-D`` counts. As many
        products; the variance falls as their number.
    clusters : how many; 0: none, the published form.
    """

    _centres: torch.Tensor
    _inverses: torch.Tensor
    _log_dets: torch.Tensor

    def __init__(self, directions: int = 1, clusters: int = 0) -> None:
        super().__init__()
        for key, value, least, allowed in (
            ("directions", directions, 1, "a positive integer"),
            ("clusters", clusters, 0, "an integer of at least 0"),
        ):
            if type(value) is not int or value < least:
                raise UserError(f"stepwise: {key} must be {allowed}, found {value!r}")
        self._directions, self._clusters = directions, clusters
        self.learns, self.fewest = clusters > 0, max(clusters, 1)

    def prepare(self, steps: int, d: int, degrees: int | None = None) -> None:
        most = d if degrees is None else degrees
        if self._directions > most:
            raise UserError(
                f"stepwise: directions must be from 1 to {most}, found {self._directions}"
            )
        if self.learns:
            shape = self._clusters, steps
            self.register_buffer("_centres", torch.zeros(self._clusters, d))
            self.register_buffer("_inverses", torch.eye(d).expand(*shape, d, d).clone())
            self.register_buffer("_log_dets", torch.zeros(shape))

    def normals(self, steps: int, d: int) -> int:
        return steps * self._directions * d

    def factors(
        self, flow: DiscreteFlow, states: Sequence[torch.Tensor], normals: torch.Tensor
    ) -> torch.Tensor:
        n, d = states[0].shape
        D, m = flow.degrees(d), self._directions
        u = flow.within(normals.view(n, flow.steps, m, d))
        u = unit_rows(u) if m == 1 else torch.linalg.qr(u.mT).Q.mT
        log_r = torch.zeros_like(states[0][:, 0])
        cluster = self._nearest(states[-1]) if self.learns else None
        for k, x in enumerate(states[1:]):
            e = u[:, k]
            if cluster is not None:
                e = self._stretched(k, e, cluster)
                log_r = log_r - self._log_dets.to(log_r)[cluster, k]
            along = flow.back_along_each(k, x, e).norm(dim=2).log()
            log_r = log_r + torch.logsumexp(-D * along, dim=1) - math.log(m)
        return log_r

    @torch.no_grad()
    def learn(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: Callable[[int, int], torch.Tensor]
    ) -> None:
        if not self.learns:
            return
        states = flow.forward(z)
        x = states[-1]
        if len(x) < self._clusters:
            raise UserError(f"stepwise: {self._clusters} clusters of {len(x)} samples")
        self._centres.copy_(_centres(x, self._clusters))
        few = max(1, min(_SAMPLES_A_CLUSTER, _PASSES_A_STEP // x.shape[1]))
        for cluster, centre in enumerate(self._centres.to(x)):
            near = (x - centre).square().sum(dim=1).argsort()[:few]
            for k, ends in enumerate(states[1:]):
                B = flow.jacobian_back(k, ends[near]).mean(dim=0)
                inverse = torch.linalg.inv(B).to(self._inverses.dtype)
                self._inverses[cluster, k] = inverse
                # of the rounded matrix, which is the one that is used
                log_det = torch.linalg.slogdet(inverse.double()).logabsdet
                self._log_dets[cluster, k] = -log_det

    def _nearest(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, self._centres.to(x)).argmin(dim=1)

    def _stretched(self, k: int, u: torch.Tensor, cluster: torch.Tensor) -> torch.Tensor:
        """``B^-1 u`` of directions [n, m, d]."""
        e = torch.empty_like(u)
        for c in range(self._clusters):
            of_it = cluster == c
            e[of_it] = u[of_it] @ self._inverses[c, k].to(u).T
        return e


def _centres(x: torch.Tensor, clusters: int) -> torch.Tensor:
    """The means [clusters, d] of the ``principal_groups`` of samples [n, d]."""
    of = principal_groups(x, clusters)
    members = [x[of == c] for c in range(clusters)]
    # one that is left without any is that of all
    return torch.stack([(part if len(part) else x).mean(dim=0) for part in members])
