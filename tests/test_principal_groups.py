"""Groups of samples in many dimensions."""

from __future__ import annotations

import torch
from scipy.cluster.vq import kmeans2

from jeffreysflow.estimation.principal_groups import principal_groups
from jeffreysflow.streams import Stream

D, GROUPS, EACH = 300, 10, 100


def samples(seed: int) -> torch.Tensor:
    """As many [n, d] of each of ten broad Gaussians, one after the other."""
    means = Stream(2, "means").normal(GROUPS, D)
    return means.repeat(EACH, 1) + 0.9 * Stream(seed, "samples").normal(GROUPS * EACH, D)


def pure(label: torch.Tensor) -> bool:
    """Whether each of the ten groups is one of the Gaussians."""
    which = torch.arange(len(label)) % GROUPS
    return (
        len(set(zip(which.tolist(), label.tolist(), strict=True)))
        == GROUPS
        == len(set(label.tolist()))
    )


def test_no_two_groups_are_taken_for_one() -> None:
    alone = []
    for seed in range(6):
        x = samples(seed)
        assert pure(principal_groups(x, GROUPS))
        away = x - x.mean(dim=0)
        along = away @ torch.linalg.svd(away, full_matrices=False).Vh[:GROUPS].T
        alone.append(
            pure(torch.from_numpy(kmeans2(along.numpy(), GROUPS, minit="++", rng=seed)[1]))
        )
    # a single start does not find them each time
    assert not all(alone)
