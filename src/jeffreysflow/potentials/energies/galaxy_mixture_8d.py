"""Three groups of galaxies by their velocities: the posterior of a normal mixture (Roeder 1990;
Richardson and Green 1997)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.rows import row_sum

_VELOCITIES = (
    *(9.172, 9.350, 9.483, 9.558, 9.775, 10.227, 10.406, 16.084, 16.170, 18.419, 18.552),
    *(18.600, 18.927, 19.052, 19.070, 19.330, 19.343, 19.349, 19.440, 19.473, 19.529, 19.541),
    *(19.547, 19.663, 19.846, 19.856, 19.863, 19.914, 19.918, 19.973, 19.989, 20.166, 20.175),
    *(20.179, 20.196, 20.215, 20.221, 20.415, 20.629, 20.795, 20.821, 20.846, 20.875, 20.986),
    *(21.137, 21.492, 21.701, 21.814, 21.921, 21.960, 22.185, 22.209, 22.242, 22.249, 22.314),
    *(22.374, 22.495, 22.746, 22.747, 22.888, 22.914, 23.206, 23.241, 23.263, 23.484, 23.538),
    *(23.542, 23.666, 23.706, 23.711, 24.129, 24.285, 24.289, 24.366, 24.717, 24.990, 25.633),
    *(26.960, 26.995, 32.065, 32.789, 34.279),
)
"""Of 82 galaxies, in 1,000 km/s."""
_COMPONENTS = 3
_MEAN, _VARIANCE = 20.0, 100.0
"""Of the prior of a component's mean, normal."""
_SHAPE, _SCALE = 3.0, 20.0
"""Of the prior of a component's variance, inverse gamma."""
_ORDERS = math.factorial(_COMPONENTS)


class GalaxyMixture8d(FiniteSum):
    """``U = -log p(m) p(v) p(w) - log |J| - sum_i log sum_k w_k N(y_i; m_k, v_k)`` kT, i = 1..82.

    Priors ``m_k ~ N(20, 100)`` (a variance), ``v_k`` inverse gamma (3, 20), ``w`` Dirichlet
    (1, 1, 1). Coordinates are ``m_1..m_3, log v_1..log v_3, a, b`` with ``w_1 = s(a)``,
    ``w_2 = (1 - w_1) s(b)``, s the logistic function, and J is the Jacobian of ``(m, v, w_1, w_2)``
    by them. All constants are in, so that log Z is the log marginal likelihood, -226.80 (Neal
    1999); ``U(10, 20, 22, 0, 1, 0, 0, 0) = 386.247814``.

    The components are interchangeable: ``observables`` ``order_1`` .. ``order_6`` say which order
    (lexicographic, as ``relabeling`` counts them) the means are in, each of probability 1/6.
    """

    domain = Domain.euclidean(2 * _COMPONENTS + 2)
    terms = len(_VELOCITIES)
    _velocities: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_velocities", torch.tensor(_VELOCITIES, dtype=torch.float64))
        self.observables = {f"order_{k + 1}": self._indicator(k) for k in range(_ORDERS)}

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        velocities, log_weights = self._velocities.to(x)[index], _log_weights(x)
        parts = []
        for k in range(_COMPONENTS):
            mean, log_variance = x[:, k, None], x[:, _COMPONENTS + k, None]
            scale = log_weights[k][:, None] - 0.5 * (log_variance + math.log(2 * math.pi))
            parts.append(scale - 0.5 * (velocities - mean).square() * torch.exp(-log_variance))
        return -torch.logsumexp(torch.stack(parts), dim=0)

    def prior(self, x: torch.Tensor) -> torch.Tensor:
        means, log_variances = x[:, :_COMPONENTS], x[:, _COMPONENTS : 2 * _COMPONENTS]
        normal = (means - _MEAN).square() / (2 * _VARIANCE) + 0.5 * math.log(
            2 * math.pi * _VARIANCE
        )
        constant = math.lgamma(_SHAPE) - _SHAPE * math.log(_SCALE)
        # of log v: the Jacobian takes one power of v
        inverse_gamma = _SHAPE * log_variances + _SCALE * torch.exp(-log_variances) + constant
        # |d(w1, w2) / d(a, b)| = w1 w2 w3, and the Dirichlet density is 2
        log_w1, log_w2, log_w3 = _log_weights(x)
        weights = log_w1 + log_w2 + log_w3 + math.log(2)
        return row_sum(normal + inverse_gamma) - weights

    def relabeling(self, x: torch.Tensor) -> torch.Tensor:
        """Which of the six orders [n] the means are in: 0 for ``m_1 < m_2 < m_3``, then as
        ``itertools.permutations`` counts the components from the smallest mean up.
        """
        first, second, _ = x[:, :_COMPONENTS].argsort(dim=1).unbind(dim=1)
        return 2 * first + (second - (second > first).long())

    def _indicator(self, k: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (self.relabeling(x) == k).to(torch.float64)


def _log_weights(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``log w_k`` [n] of the three components."""
    a, b = x[:, -2], x[:, -1]
    rest = logsigmoid(-a)
    return logsigmoid(a), rest + logsigmoid(b), rest + logsigmoid(-b)
