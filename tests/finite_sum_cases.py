"""A finite sum of which all is known, for the tests."""

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.finite_sum import FiniteSum

SIGNS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)


class Narrow(FiniteSum):
    """``2 |x|^2`` in two dimensions, as four terms that differ by ``+-4 cos x_j``."""

    domain = Domain.euclidean(2)
    terms = 4

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        noise = (4 * SIGNS[index].to(x) * x.cos().unsqueeze(1)).sum(dim=-1)
        return (2 * x.square().sum(dim=1, keepdim=True) + noise) / 4


class Seen(Narrow):
    """Keeps the mini-batches that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[torch.Tensor] = []

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        self.batches.append(index.clone())
        return super().energy_terms(x, index)
