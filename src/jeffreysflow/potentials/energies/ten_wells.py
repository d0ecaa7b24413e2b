"""Ten Gaussians of equal weight, in as many dimensions as asked for (after Peng and Gao 2025, arXiv
2407.10666)."""

from __future__ import annotations

import numpy as np
import torch

from jeffreysflow.potentials.gaussian_wells import GaussianWells, Well

_DIMENSION = 1000
_SEED = 42
_WELLS = 10
_LEAST_VARIANCE, _MEAN, _SPREAD = 0.4, 0.1, 0.5


class TenWells(GaussianWells):
    """``N(m_k, diag(v_k))``, k = 1..10, of weight .1 each; log Z = 0.

    Means are standard normal, variances ``.4 + |g|`` with g normal of mean .1 and standard
    deviation .5. By numpy's ``default_rng(42)``: the 10 x d means, well by well, then the 10 x d
    variances. ``observables`` are ``well_1`` .. ``well_10``: whether a sample is of that well
    rather than of another.

    Parameters
    ----------
    dimension : d.
    """

    def __init__(self, dimension: int = _DIMENSION) -> None:
        if not (type(dimension) is int and dimension >= 1):
            raise ValueError(f"dimension must be a positive integer, found {dimension!r}")
        generator = np.random.default_rng(_SEED)
        means = torch.from_numpy(generator.standard_normal((_WELLS, dimension)))
        normal = generator.normal(_MEAN, _SPREAD, (_WELLS, dimension))
        variances = torch.from_numpy(_LEAST_VARIANCE + np.abs(normal))
        super().__init__([Well(1 / _WELLS, m, v) for m, v in zip(means, variances, strict=True)])
        self.observables = {f"well_{k + 1}": self.indicator(k) for k in range(_WELLS)}
