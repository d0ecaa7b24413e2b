"""Groups of samples in many dimensions, where all distances are those of noise."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

__all__ = ["principal_groups"]


_STARTS = 30
"""Of k-means: from a single one it often takes two groups for one, and another for two."""


def principal_groups(x: torch.Tensor, number: int) -> torch.Tensor:
    """To which of so many groups, from 0, each of the samples [n, d] belongs: k-means along as many
    principal directions, of several starts the one whose groups are tightest. A group may be left
    without samples.
    """
    away = x - x.mean(dim=0)
    leading = torch.linalg.svd(away, full_matrices=False).Vh[:number]
    points = (away @ leading.T).cpu().numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        found = [kmeans2(points, number, minit="++", rng=start) for start in range(_STARTS)]
    _, label = min(found, key=lambda each: float(np.square(points - each[0][each[1]]).sum()))
    return torch.from_numpy(label).long().to(x.device)
