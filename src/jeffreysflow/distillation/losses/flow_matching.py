"""Flow matching, by which a velocity is trained."""

from __future__ import annotations

import torch

from jeffreysflow.distillation.velocity_matching import VelocityMatching


class FlowMatchingLoss(VelocityMatching):
    """``x_t = (1 - t) x_0 + t x_1``, straight lines (Lipman et al. 2022, arXiv 2210.02747).

    Parameters
    ----------
    pairing : which x_0 and x_1 of a batch belong together: `independent`, or `optimal`, the
        transport of least squared distance within groups of 128 (Tong et al. 2023, arXiv
        2302.00482): straighter flows, hence fewer steps.
    """

    def path(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 1 - t, t

    def rates(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one = torch.ones_like(t)
        return -one, one
