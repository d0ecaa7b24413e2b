"""Configuration of how a flow's density is sampled where importance weights alone do not do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jeffreysflow.config.section import Section

__all__ = ["SamplingConfig"]


class SamplingConfig(Section):
    """From flows to samples of the target."""

    kind: Literal["importance", "metropolis", "smc"] = "importance"
    """`importance`: independent samples with weights. Or moves among base points, and the random
    numbers of their weights: `metropolis` chains, or `smc` from all weights alike to the weights as
    they are."""
    islands: int = Field(default=16, ge=8, le=100_000)
    """Parts that are made independently of each other, and give errors."""
    chains: int = Field(default=10, ge=1)
    """Of `metropolis`: chains of an island."""
    burn_in: int = Field(default=20, ge=0)
    """Of `metropolis`: moves before the first sample."""
    moves: int = Field(default=2, ge=1)
    """Of `smc`: moves at each temperature."""
    cess: float = Field(default=0.9, gt=0.01, lt=1)
    """Of `smc`: conditional ESS from one temperature to the next, which a pilot sets."""
    block: float = Field(default=0.1, gt=0, le=1)
    """Share of all numbers that a move draws anew."""
