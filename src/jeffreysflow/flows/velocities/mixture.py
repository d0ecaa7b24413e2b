"""The velocity of a mixture of Gaussians, and what is learnt beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jeffreysflow.errors import positive_integer
from jeffreysflow.flows.velocities.gated import Gated
from jeffreysflow.flows.velocity import Velocity
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

_NOBODY = -1e30
"""Logarithm of the weight of a component that is not there."""


class Mixture(Velocity):
    """``E[x_1 - x_0 | x_t = x]`` for ``x_t = (1 - t) x_0 + t x_1``, x_0 standard normal in units of
    the base and ``x_1 ~ sum_k w_k N(mu_k, C_k)`` fitted to samples of the reference, plus what a
    `gated` velocity learns.

    With ``C_k = Q_k diag(c_k) Q_k^T`` and ``m_k = (1 - t)^2 + t^2 c_k`` it is in closed form
    ``v = sum_k r_k (mu_k + Q_k diag((t c_k - 1 + t) / m_k) Q_k^T (x - t mu_k))``, r_k the
    probability of k at x and t: the velocity that `flow_matching` learns from samples of that
    mixture, with as few samples as a covariance needs. Two products with matrices a component, none
    where its covariance is diagonal.

    Parameters
    ----------
    components : at most, as many as held-out samples gain by.
    hidden, layers, features : of the `gated` velocity beside it; ``hidden: 0`` for none, so that
        there is nothing to train.
    """

    _log_weights: torch.Tensor
    _centres: torch.Tensor
    _axes: torch.Tensor
    _variances: torch.Tensor
    _turned: torch.Tensor
    _present: list[tuple[int, bool]]

    def __init__(
        self,
        mean: Sequence[float],
        sd: Sequence[float],
        stream: Stream | None,
        components: int = 8,
        hidden: int = 128,
        layers: int = 2,
        features: int | None = None,
    ) -> None:
        super().__init__()
        positive_integer("velocity 'mixture': components", components)
        d = len(mean)
        self._mean = torch.tensor(mean, dtype=torch.float64)
        self._sd = torch.tensor(sd, dtype=torch.float64)
        self.components = components
        log_weights = torch.full((components,), _NOBODY).double()
        log_weights[0] = 0.0
        for name, value in {
            "_log_weights": log_weights,
            "_centres": torch.zeros(components, d).double(),
            "_axes": torch.eye(d).double().expand(components, d, d).clone(),
            "_variances": torch.ones(components, d).double(),
            "_turned": torch.zeros(components),
        }.items():
            self.register_buffer(name, value)
        self._note_components()
        self.register_load_state_dict_post_hook(_renewed)  # type: ignore[no-untyped-call]
        learnt = hidden, layers, features
        self.learnt = None if hidden == 0 else Gated(mean, sd, stream, *learnt)

    def start_at(self, law: LineMixture) -> None:
        here, sd = slice(len(law.weights)), self._sd
        factors = law.factors / sd[:, None]
        variances, axes = torch.linalg.eigh(factors @ factors.mT)
        turned = (law.factors.tril(-1) != 0).flatten(1).any(dim=1)
        axes[~turned] = torch.eye(len(sd), dtype=axes.dtype)
        variances[~turned] = factors[~turned].diagonal(dim1=1, dim2=2).square()
        self._turned[here] = turned.to(self._turned.dtype)
        self._log_weights.fill_(_NOBODY)
        self._log_weights[here] = law.weights.log()
        self._variances[here], self._axes[here] = variances, axes
        self._centres[here] = (((law.means - self._mean) / sd).unsqueeze(1) @ axes).squeeze(1)
        self._note_components()

    def _note_components(self) -> None:
        """Which components are there and turned, as numbers that no device is asked for."""
        present = (self._log_weights > _NOBODY).nonzero().flatten().tolist()
        self._present = [(k, bool(self._turned[k])) for k in present]

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sd = self._sd.to(x)
        y = (x - self._mean.to(x)) / sd
        logits, velocities = [], []
        for k, turned in self._present:
            c, mu, axes = self._variances[k].to(x), self._centres[k].to(x), self._axes[k].to(x)
            m = (1 - t).square() + t.square() * c
            offset = (y @ axes if turned else y) - t * mu
            logits.append(self._log_weights[k] - 0.5 * (m.log() + offset.square() / m).sum(dim=1))
            v = mu + (t * c - 1 + t) / m * offset
            velocities.append(v @ axes.T if turned else v)
        shares = torch.stack(logits, dim=1).softmax(dim=1)
        v = torch.einsum("nk,nkd->nd", shares, torch.stack(velocities, dim=1)) * sd
        return v if self.learnt is None else v + self.learnt(x, t)

    @property
    def numbers(self) -> int:
        learnt = 0 if self.learnt is None else self.learnt.numbers
        return learnt + 6 * self._centres.numel()


def _renewed(velocity: Mixture, _: object) -> None:
    velocity._note_components()
