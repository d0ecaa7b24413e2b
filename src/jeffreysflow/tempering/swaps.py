"""Swaps of level labels between neighbours on the ladder.

Everything acts on a block of walkers at once: columns are walkers (independent ladders), rows are
levels or replicas.
"""

from __future__ import annotations

from typing import Literal

import torch

from jeffreysflow.streams import Stream

__all__ = ["SwapScheme", "attempted_pairs", "swap_acceptance", "swap_labels"]

SwapScheme = Literal["deo", "seo"]


def swap_acceptance(V: torch.Tensor, ladder: torch.Tensor) -> torch.Tensor:
    """Acceptance probabilities [M, w] of swapping the samples at levels k - 1 and k, k = 1..M.

    ``min(1, exp(-dH))``, ``dH = (lambda_k - lambda_{k-1}) (V(x_{k-1}) - V(x_k))``: what
    ``U_{k-1}(x_k) + U_k(x_{k-1}) - U_{k-1}(x_{k-1}) - U_k(x_k)`` comes to.

    ``V`` [M + 1, w] in kT by level, +inf in a wall, from where nothing swaps up; ``ladder``
    [M + 1].
    """
    gap = ladder.diff().unsqueeze(1)
    # both in the wall: inf - inf
    return torch.exp(gap * V.diff(dim=0)).nan_to_num(nan=0.0, posinf=1.0).clamp(max=1.0)


def attempted_pairs(
    scheme: SwapScheme, pairs: int, walkers: int, swap_round: int, stream: Stream
) -> torch.Tensor:
    """Which pairs (k - 1, k) each walker tries in this round: boolean [pairs, w or 1].

    ``deo``: even and odd pairs in turn (Okabe et al. 2001); ``seo``: even or odd at random.
    """
    parity: int | torch.Tensor = swap_round % 2
    if scheme == "seo":
        parity = stream.integers(2, walkers)
    return (torch.arange(pairs).unsqueeze(1) + parity) % 2 == 0


def swap_labels(level: torch.Tensor, swapped: torch.Tensor) -> torch.Tensor:
    """Labels [replica, w] after the pairs in ``swapped`` [M, w] have exchanged theirs."""
    up = torch.nn.functional.pad(swapped.long(), (0, 0, 0, 1))
    down = torch.nn.functional.pad(swapped.long(), (0, 0, 1, 0))
    return level + (up - down).gather(0, level)
