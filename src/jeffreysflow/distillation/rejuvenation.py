"""Rejuvenation: moves that spread an ensemble's copies; exact ones leave its weights valid."""

from __future__ import annotations

import math

import torch

from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.noisy_kernel import NoisyKernel
from jeffreysflow.tempering.usable import usable

__all__ = ["rejuvenated"]

_ADAPTATION_STEPS = 40
_ADAPTATION_ROWS = 2000
_MEMBERS = 1 << 24
"""Of the mini-batches of all moves of some samples, 128 MB."""


def rejuvenated(
    ensemble: Ensemble,
    path: AnnealingPath,
    lam: float,
    kernel: Kernel,
    steps: int,
    batch: int,
    stream: Stream,
    tuned_on: torch.Tensor | None = None,
    step_size: float | None = None,
) -> tuple[Ensemble, float]:
    """The ensemble after ``steps`` moves on ``U_lam``, and the mean acceptance.

    An exact kernel leaves pi_lam invariant, so samples move and weights stay. The step
    size is found on about 2,000 samples, spread evenly over the rows ``tuned_on`` (None: all), with
    a falling gain towards the kernel's optimal acceptance, from a tenth of the base's smallest
    variance on; those samples and all others are then moved with it, ``batch`` at a time. Only for
    the others is the kernel independent of where they are.

    A biased kernel moves with the ``step_size`` it is given, and the weights are no longer exact.
    One with a control variate takes it from where each sample is at the start.

    Raises
    ------
    UserError : a biased kernel goes where the energy is not finite.
    """
    if steps == 0:
        return ensemble, math.nan
    if not kernel.gradients:
        path = path.without_gradients()
    if step_size is None:
        rows = ensemble.x if tuned_on is None else ensemble.x[tuned_on]
        some = path.evaluate(rows[:: max(1, len(rows) // _ADAPTATION_ROWS)])
        step_size = _adapted_step_size(some, path, lam, kernel, stream)
    if isinstance(kernel, NoisyKernel):
        batch = max(1, min(batch, _MEMBERS // (steps * kernel.minibatch)))
    moved, accepted = [], 0.0
    for x in torch.split(ensemble.x, batch):
        point, its_acceptance = _walked(x, path, lam, kernel, steps, step_size, stream)
        accepted += its_acceptance
        moved.append((point.x, point.U_0, point.V))
    x, U_0, V = map(torch.cat, zip(*moved, strict=True))
    return Ensemble(x, ensemble.log_weights, U_0, V), accepted / (steps * len(x))


def _walked(
    x: torch.Tensor,
    path: AnnealingPath,
    lam: float,
    kernel: Kernel,
    steps: int,
    step_size: float,
    stream: Stream,
) -> tuple[PathPoint, float]:
    """Where samples [n, d] are after so many moves, and the sum of their acceptance."""
    if isinstance(kernel, NoisyKernel):
        n, terms = len(x), path.counted.finite_sum.terms
        batches = random_batches(stream, terms, kernel.minibatch, steps, n)
        level, h = x.new_full((n, 1), lam), x.new_full((n, 1), step_size)
        point = path.evaluate(kernel.sweep(x, level, h, path, batches, stream))
        _check_usable(point, kernel.name)
        return point, float(steps * n)
    point, accepted = path.evaluate(x), 0.0
    for _ in range(steps):
        point, acceptance = _step(point, path, lam, kernel, step_size, stream)
        accepted += float(acceptance.sum())
    if not kernel.exact:
        _check_usable(point, kernel.name)
    return point, accepted


def _check_usable(point: PathPoint, kernel: str) -> None:
    lost = ~usable(point)
    if bool(lost.any()):
        raise UserError(
            f"rejuvenation by '{kernel}' leaves {int(lost.sum())} of {len(lost)} samples where the "
            f"energy or its gradient is not finite, first at "
            f"x = {point.x[int(lost.nonzero()[0])].tolist()}; take a smaller rejuvenation_step"
        )


def _adapted_step_size(
    point: PathPoint, path: AnnealingPath, lam: float, kernel: Kernel, stream: Stream
) -> float:
    target = kernel.target_acceptance
    assert target is not None
    assert path.base is not None
    log_step = math.log(0.1 * float(path.base.sd.min()) ** 2)
    for step in range(1, _ADAPTATION_STEPS + 1):
        point, acceptance = _step(point, path, lam, kernel, math.exp(log_step), stream)
        log_step += 2 / math.sqrt(step) * (float(acceptance.mean()) - target)
    return math.exp(log_step)


def _step(
    point: PathPoint,
    path: AnnealingPath,
    lam: float,
    kernel: Kernel,
    step_size: float,
    stream: Stream,
) -> tuple[PathPoint, torch.Tensor]:
    n = len(point.x)
    sizes, levels = point.x.new_full((n, 1), step_size), point.x.new_full((n, 1), lam)
    moved, acceptance, _ = kernel.step(point, levels, sizes, path, stream)
    return moved, torch.nan_to_num(acceptance)
