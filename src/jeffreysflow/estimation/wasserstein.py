"""How far two samples of energies lie apart."""

from __future__ import annotations

import torch

__all__ = ["wasserstein_energy"]


def wasserstein_energy(a: torch.Tensor, b: torch.Tensor) -> float:
    """``sqrt(mean_i (a_(i) - b_(i))^2)`` over the order statistics of two samples [n], kT.

    That is the Wasserstein distance of order 2 between their empirical laws, on the line the root
    mean square distance of quantiles. Two samples of one law are about ``n^(-1/2)`` apart, and
    further where its tails are heavy: a distance means something beside such a floor.

    Raises
    ------
    ValueError : the samples are of different sizes, empty, or not finite.

    Example
    -------
    >>> wasserstein_energy(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 1.0]))
    1.0
    """
    if a.shape != b.shape or a.dim() != 1 or not len(a):
        raise ValueError(f"two samples [n], n >= 1, found {list(a.shape)} and {list(b.shape)}")
    distances = a.double().sort().values - b.double().sort().values
    if not bool(distances.isfinite().all()):
        raise ValueError("energies must be finite")
    return float(distances.square().mean().sqrt())
