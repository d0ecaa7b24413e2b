"""The penalty method: the Metropolis rule, corrected for the noise of the energy."""

from __future__ import annotations

from typing import Literal

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.tempering.swap_rule import EstimatingRule


class Penalty(EstimatingRule):
    """``min(1, exp(-dlambda D_B - (tau / 2) s^2))``, ``s^2`` the variance of ``dlambda D_B``.

    With tau = 1 and ``s^2`` the variance over batches at fixed states it is exact where that noise
    is normal and of one variance (Ceperley and Dewing 1999, physics/9812035). ``s^2`` is one number
    a pair, measured in warm-up.

    Parameters
    ----------
    tau : in (0, 1].
    variance : ``state``, over batches at fixed states; ``total``, over states too, which with
        tau = 1/2 is what the code of arXiv 2604.05303 does, and penalises too much.
    size, batch : see ``EstimatingRule``.
    """

    def __init__(
        self,
        tau: float = 1.0,
        variance: Literal["state", "total"] = "state",
        size: int | None = None,
        batch: Literal["fresh", "reused"] = "fresh",
    ) -> None:
        super().__init__(size, batch)
        if isinstance(tau, bool) or not isinstance(tau, int | float) or not 0 < tau <= 1:
            raise UserError(
                f"swap rule 'penalty': tau must be above 0 and at most 1, found {tau!r}"
            )
        if variance not in ("state", "total"):
            raise UserError(
                f"swap rule 'penalty': variance must be 'state' or 'total', found {variance!r}"
            )
        self.tau, self.measures = tau, variance

    def acceptance(
        self, V: torch.Tensor, ladder: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        log_ratio = ladder.diff().unsqueeze(1) * V.diff(dim=0) - 0.5 * self.tau * noise.unsqueeze(1)
        return log_ratio.exp().nan_to_num(nan=0.0, posinf=1.0).clamp(max=1.0)
