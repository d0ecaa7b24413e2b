"""Groups of samples in many dimensions, where all distances are those of noise."""

from __future__ import annotations

import torch
from scipy.cluster.vq import kmeans2

__all__ = ["principal_groups"]


def principal_groups(x: torch.Tensor, number: int) -> torch.Tensor:
    """To which of so many groups, from 0, each of the samples [n, d] belongs: k-means along as many
    principal directions. A group may be left without samples.
    """
    away = x - x.mean(dim=0)
    leading = torch.linalg.svd(away, full_matrices=False).Vh[:number]
    _, label = kmeans2((away @ leading.T).cpu().numpy(), number, minit="++", rng=0)
    return torch.from_numpy(label).long().to(x.device)
