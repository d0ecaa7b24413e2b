"""Hutchinson's estimate of the divergence, which is biased for weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import Jacobian

_PROBES = ("gaussian", "rademacher")


class Hutchinson(Jacobian):
    """The integral of ``e . grad v e`` along the flow, e with ``E[e e^T] = 1``, another one in each
    step (Grathwohl et al. 2018, arXiv 1810.01367): an unbiased estimate of ``log|det|``, up to the
    error of the integrator.

    *Biased* for weights: their mean is too large by the factor ``exp(s^2/2)``, with ``s^2`` the
    variance of the estimate where it is normal, and after normalisation modes are off by half the
    difference of their variances.

    Parameters
    ----------
    probe : `gaussian`, or `rademacher`: signs.
    corrected : two independent estimates, whose mean is lowered by half its variance, which their
        difference tells. Most of the bias is gone, not all.
    """

    unbiased = False

    def __init__(self, probe: str = "rademacher", corrected: bool = False) -> None:
        super().__init__()
        if probe not in _PROBES:
            raise UserError(f"hutchinson: unknown probe {probe!r}; {allowed_names(probe, _PROBES)}")
        if not isinstance(corrected, bool):
            raise UserError(f"hutchinson: corrected must be true or false, found {corrected!r}")
        self.corrected = corrected
        self._signs, self._estimates = probe == "rademacher", 2 if corrected else 1

    def normals(self, steps: int, d: int) -> int:
        return self._estimates * steps * d

    def factors(
        self, flow: DiscreteFlow, states: Sequence[torch.Tensor], normals: torch.Tensor
    ) -> torch.Tensor:
        n, d = states[0].shape
        probes = normals.view(n, self._estimates, flow.steps, d)
        probes = flow.within(torch.sign(probes) if self._signs else probes)
        parts = [
            -sum(
                flow.divergence_back(k, x, probes[:, estimate, k])[1]
                for k, x in enumerate(states[1:])
            )
            for estimate in range(self._estimates)
        ]
        found = torch.stack(parts)  # type: ignore[arg-type]
        log_r = found.mean(dim=0)
        if self._estimates == 2:
            log_r = log_r - (found[0] - found[1]).square() / 8
        return log_r
