"""Decay of the weights: coordinates that have nothing to do with each other stay apart."""

from __future__ import annotations

import math

import torch

from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.domain import Domain
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

D = 16


def held_out_loss(weight_decay: float) -> tuple[float, list[float], SplineFlow]:
    """Of a flow that learns 16 independent coordinates from 600 samples, and its weights."""
    base, stream = Base(Domain.euclidean(D)), Stream(1, "source")
    x = 1 + 0.5 * Stream(1, "reference").normal(5600, D, dtype=torch.float32)

    def target(x: torch.Tensor) -> torch.Tensor:
        return 2 * (x - 1).square().sum(dim=1)

    recipe = Recipe(steps=150, batch=200, learning_rate=8e-3, weight_decay=weight_decay)
    transport = Transport(
        FreshBatches(lambda: base.sample(recipe.batch, stream, dtype=torch.float32), base.energy),
        ShuffledBatches(KnownSamples(x[:600], target), recipe.batch, Stream(1, "shuffle")),
        *(base.energy, target, float(D), D / 4),
    )
    box = ([-8.0] * D, [8.0] * D, [1.0] * D, [False] * D)
    flow = SplineFlow(*box, layers=2, hidden=(16, 16), bins=8, stream=Stream(1, "weights"))
    train(flow, transport, JeffreysLoss(0.0, 1.0), recipe)
    with torch.no_grad():
        z, log_det = flow.inverse(x[600:])
        loss = (base.energy(z) - log_det - target(x[600:])).mean()
        sizes = [float(each.abs().mean()) for each in flow.decaying()]
    return float(loss), sizes, flow


def test_it_keeps_a_flow_from_learning_a_finite_reference_by_heart() -> None:
    free, free_sizes, _ = held_out_loss(0.0)
    held, held_sizes, _ = held_out_loss(4.0)
    assert all(a < b for a, b in zip(held_sizes, free_sizes, strict=True))
    # log Z of the target, since the base is normalised: what a perfect flow reaches
    best = 0.5 * D * math.log(0.5 * math.pi)
    assert 0 < held - best < 0.5 * (free - best)


def test_no_bias_decays() -> None:
    flow = held_out_loss(100.0)[2]
    decaying = {id(each) for each in flow.decaying()}
    biases = [each for each in flow.parameters() if id(each) not in decaying]
    assert len(biases) == len(decaying) == 6
    assert all(each.shape[1] == 1 for each in biases)
    # marginals are learnt all the same
    assert max(float(each.detach().abs().max()) for each in biases) > 0.5
