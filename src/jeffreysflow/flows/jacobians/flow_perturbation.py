"""Flow perturbation, of the whole flow at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from jeffreysflow.errors import UserError
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import Jacobian, unit_rows
from jeffreysflow.flows.velocity import linear
from jeffreysflow.streams import Stream

_HIDDEN = 64
_STEPS, _BATCH, _LEARNING_RATE = 600, 256, 3e-3
_BOUNDED, _FEWEST_BOUNDED, _NUMBERS = 64, 4, 1_000_000
_LEAST_SCALE = 1e-6


class FlowPerturbation(Jacobian):
    """A sample of the flow is perturbed, and what that does to the base sample it comes from is the
    random factor (Peng and Gao 2025, arXiv 2407.10666).

    With a ``scale`` s_f, ``x = f(z) + s_f eps``, eps standard normal, ``eps' = (z - f^-1(x)) /
    s_b(x)`` and

        ``log r = D log(s_f / s_b(x)) - (|eps'|^2 - |eps|^2) / 2``,

    unbiased for every s_b, which is learnt: a network of f^-1(x) that minimises ``E | |eps'|^2 -
    |eps|^2 |``. Where ``s_b`` is at least ``sqrt(2) s_f sigma``, sigma the smallest singular value
    of the inverse's Jacobian, the variance is infinite.

    Without one, the limit s_f -> 0 with the length of eps' that of eps: ``log r = -D log|J e|``, e
    uniform on the sphere and J the Jacobian of ``f^-1`` at ``x = f(z)``. Unbiased as well, for the
    reason that ``stepwise`` is; its variance grows with D and does not fall with the steps.

    Parameters
    ----------
    scale : s_f > 0; ``None``: the limit.
    """

    _beyond: torch.Tensor

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        number = isinstance(scale, int | float) and not isinstance(scale, bool)
        if scale is not None and not (number and 0 < scale < math.inf):
            raise UserError(f"flow_perturbation: scale must be a positive number, found {scale!r}")
        self._scale = scale
        self.learns = self.moves = scale is not None
        self._network: nn.Sequential | None = None
        self.register_buffer("_beyond", torch.zeros(()))

    def prepare(self, steps: int, d: int, degrees: int | None = None) -> None:
        if self._scale is not None:
            self._network = nn.Sequential(
                linear(d, _HIDDEN, Stream(0, "backward scale", d)),
                nn.SiLU(),
                linear(_HIDDEN, 1, None),
            )

    def refuse_unit(self, unit: torch.Tensor) -> None:
        least = _LEAST_SCALE * float(unit.max())
        if self._scale is not None and self._scale < least:
            raise UserError(
                f"flow_perturbation: scale must be at least {least:.2g}, a millionth of the base's "
                f"width, found {self._scale:g}: it is told from the error of a step no more; "
                "without a scale it is the limit"
            )

    def normals(self, steps: int, d: int) -> int:
        return d

    def factors(
        self, flow: DiscreteFlow, states: Sequence[torch.Tensor], normals: torch.Tensor
    ) -> torch.Tensor:
        """Of the limit."""
        e, below = unit_rows(flow.within(normals)), states[-1]
        for k in reversed(range(flow.steps)):
            below, e = flow.back_along(k, below, e)
        log_length: torch.Tensor = e.norm(dim=1).log()
        return -flow.degrees(below.shape[1]) * log_length

    def push(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._scale is None:
            return super().push(flow, z, normals)
        eps, D = flow.within(normals), flow.degrees(z.shape[1])
        x = flow.forward(z)[-1] + self._scale * eps
        origin = flow.inverse(x)
        log_s_b = self._log_backward_scale(origin)
        distance = (z - origin).square().sum(dim=1) / (2 * log_s_b).exp()
        log_r = D * (math.log(self._scale) - log_s_b) - 0.5 * (distance - eps.square().sum(dim=1))
        return x, log_r

    def learn(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: Callable[[int, int], torch.Tensor]
    ) -> None:
        if self._scale is None:
            return
        assert self._network is not None
        D = flow.degrees(z.shape[1])
        with torch.no_grad():
            eps = flow.within(normals(*z.shape))
            origin = flow.inverse(flow.forward(z)[-1] + self._scale * eps)
            moved, drawn = (z - origin).square().sum(dim=1), eps.square().sum(dim=1)
            # the scale that is best for all of them, from which the network departs
            last = self._network[-1]
            assert isinstance(last, nn.Linear)
            last.bias.fill_(0.5 * float((moved / drawn).log().median()))
        optimiser = torch.optim.Adam(self._network.parameters(), lr=_LEARNING_RATE)
        for step in range(_STEPS):
            rows = torch.arange(step * _BATCH, (step + 1) * _BATCH, device=z.device) % len(z)
            with torch.enable_grad():
                log_s_b = self._log_backward_scale(origin[rows])
                loss = (moved[rows] * (-2 * log_s_b).exp() - drawn[rows]).abs().mean() / D
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            for group in optimiser.param_groups:
                group["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
            optimiser.step()

        at_a_time = max(1, _NUMBERS // z.shape[1] ** 2)
        some = min(_BOUNDED, max(_FEWEST_BOUNDED, at_a_time), len(z))
        starts = range(0, some, at_a_time)
        parts = [slice(start, min(start + at_a_time, some)) for start in starts]
        beyond = torch.cat([self._beyond_bound(flow, z[part], origin[part]) for part in parts])
        self._beyond.fill_(float(beyond.double().mean()))

    @property
    def infinite_variance(self) -> float:
        return float(self._beyond)

    def _beyond_bound(
        self, flow: DiscreteFlow, z: torch.Tensor, origin: torch.Tensor
    ) -> torch.Tensor:
        """Of which samples [n] the backward scale is so large that the variance of the factor
        is infinite, by the smallest singular value of the inverse's Jacobian there.
        """
        with torch.no_grad():
            states = flow.forward(z)
            # without a centroid that is not moved
            whole = flow.within(torch.eye(z.shape[1], dtype=z.dtype, device=z.device))
            for k in reversed(range(flow.steps)):
                whole = flow.jacobian_back(k, states[k + 1]) @ whole
            values = torch.linalg.svdvals(whole)[:, flow.degrees(z.shape[1]) - 1]
            bound = 0.5 * math.log(2) + math.log(self._scale or 1.0) + values.log()
            return torch.ge(self._log_backward_scale(origin), bound)

    def _log_backward_scale(self, origin: torch.Tensor) -> torch.Tensor:
        assert self._network is not None
        log_s_b: torch.Tensor = self._network(origin)
        return log_s_b[:, 0]
