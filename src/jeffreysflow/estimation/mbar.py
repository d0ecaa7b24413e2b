"""Averages at any temperature from samples of all levels together (MBAR).

Levels differ by their lambda alone, ``U_k = U_0 + lambda_k V``, so that everything follows from V:
with N_k samples of level k, all of them are one sample of the mixture
``sum_k N_k exp(f_k - lambda_k V)``, whose ``f_k = -log Z_k`` solve

    ``exp(-f_k) = sum_i exp(-lambda_k V_i) / sum_l N_l exp(f_l - lambda_l V_i)``

(Shirts and Chodera 2008, doi 10.1063/1.2978177).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.estimation.group_errors import FEWEST_GROUPS, group_errors

__all__ = ["Reweighted", "log_ratios", "reweighted"]

_STEPS = 200
_DONE = 1e-10
_GROUPS = 16
_FEWEST_SHARED = 1.0
"""Samples that belong as much to one part of the levels as to the other."""


@dataclass(frozen=True)
class Reweighted:
    """Averages at each of L values of lambda: ``means`` [L, J], their ``errors`` and the ``dof`` of
    these; ``log_z`` [L] above that of the last level with ``log_z_errors``; ``ess`` [L], the
    effective share of all samples.
    """

    means: torch.Tensor
    errors: torch.Tensor
    dof: torch.Tensor
    log_z: torch.Tensor
    log_z_errors: torch.Tensor
    ess: torch.Tensor


def log_ratios(
    V: torch.Tensor, lam: torch.Tensor, start: torch.Tensor | None = None
) -> torch.Tensor:
    """``log Z_k / Z_0`` [K] from ``V`` [K, n], kT, of n samples of each level at ``lam`` [K].

    The likelihood of f is convex: Newton's method, and the equations themselves where a step of it
    goes too far.

    Raises
    ------
    ValueError : they do not converge, as where neighbours have nothing in common.
    """
    n = V.shape[1]
    centre = _centre(V)
    energies = _times(lam, (V - centre).flatten()[:, None])
    shift = (lam - lam[0]) * centre
    f = _guess(V - centre, lam) if start is None else -start - shift
    far = 3 if start is None else 0
    for step in range(_STEPS):
        shares = (f - energies).softmax(dim=1)
        each = shares.sum(dim=0) / n
        score = 1 - each
        if not bool(score.isfinite().all()):
            break
        hessian = torch.diag(each) - shares.T @ shares / n
        if float(score.abs().max()) < _DONE:
            if not _are_connected(hessian, n):
                break
            return f[0] - f - shift
        move = torch.zeros_like(f)
        # f is known up to a constant: the first stays
        move[1:] = torch.linalg.lstsq(hessian[1:, 1:], score[1:, None]).solution[:, 0]
        if step < far or not bool(move.isfinite().all()) or float(move.abs().max()) > 1:
            move = -each.log()
            move = move - move[0].clone()
        f = f + move
    raise ValueError("the levels have too little in common to be reweighted together")


def _are_connected(hessian: torch.Tensor, n: int) -> bool:
    """Whether samples join all levels, of n each. Where none does, any f solves the equations: the
    second eigenvalue of their overlap, one minus that of the ``hessian``, is 1.
    """
    joined = n * torch.linalg.eigvalsh(hessian)[1:]
    return bool((joined > _FEWEST_SHARED).all())


def _centre(V: torch.Tensor) -> torch.Tensor:
    """What is taken off all energies, so that a large constant in them costs no digits."""
    finite = V[V.isfinite()]
    return finite.median() if len(finite) else V.new_zeros(())


def _guess(V: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """``f_k - f_0`` by the trapezoid rule of thermodynamic integration, as far as V is finite."""
    mean = torch.nanmean(V.masked_fill(V.isinf(), math.nan), dim=1).nan_to_num(0.0)
    steps = 0.5 * (mean[1:] + mean[:-1]) * lam.diff()
    return torch.cat([steps.new_zeros(1), steps.cumsum(dim=0)])


def _times(lam: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    """``lam V``, 0 at lambda = 0 also in a wall, V = +inf."""
    return torch.where(lam == 0, torch.zeros_like(V), lam * V)


def _averages(
    V: torch.Tensor, values: torch.Tensor, lam: torch.Tensor, at: torch.Tensor, f: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means [L, J], ``log Z`` [L] above that of the last level, and ESS [L]."""
    centre = _centre(V)
    flat = (V - centre).flatten()
    f = f - (lam - lam[0]) * centre
    mixture = math.log(V.shape[1]) + (f - _times(lam, flat[:, None])).logsumexp(dim=1)
    log_w = -_times(at[:, None], flat) - mixture
    log_z = log_w.logsumexp(dim=1)
    w = (log_w - log_z[:, None]).exp()
    last = -_times(lam[-1:], flat) - mixture
    means = w @ values.reshape(len(flat), -1)
    log_z = log_z - last.logsumexp(dim=0) - (at - lam[-1]) * centre
    return means, log_z, 1 / (w.square().sum(dim=1) * len(flat))


def reweighted(
    V: torch.Tensor, values: torch.Tensor, lam: Sequence[float], at: Sequence[float]
) -> Reweighted:
    """Averages at every lambda of ``at`` [L], of ``values`` [K, draw, walker, J] beside ``V`` [K,
    draw, walker], kT, of all levels at ``lam`` [K].

    Errors are by leaving out one group of walkers at a time, with all their draws at all levels,
    between which replicas travel; of fewer than eight walkers, one part of the run at a time.

    Raises
    ------
    ValueError : the levels have too little in common.
    """
    levels, grid = (torch.tensor(list(x), dtype=torch.float64) for x in (lam, at))
    V, values = V.double(), values.double()
    ratios = log_ratios(V.flatten(1), levels)
    means, log_z, ess = _averages(V, values, levels, grid, -ratios)
    groups = _groups(*V.shape[1:])
    without = []
    for kept in groups:
        part, its_values = V[:, kept[0]][:, :, kept[1]], values[:, kept[0]][:, :, kept[1]]
        f = -log_ratios(part.flatten(1), levels, ratios)
        its_means, its_log_z, _ = _averages(part, its_values, levels, grid, f)
        without.append(torch.cat([its_means.flatten(), its_log_z]))
    both = torch.cat([means.flatten(), log_z])
    unknown = torch.full_like(both, math.nan)
    errors, dof = group_errors(both, torch.stack(without)) if without else (unknown, unknown)
    cut = means.numel()
    return Reweighted(
        means,
        errors[:cut].reshape(means.shape),
        dof[:cut].reshape(means.shape),
        log_z,
        errors[cut:],
        ess,
    )


def _groups(draws: int, walkers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each group what is left without it: draws and walkers. None of fewer than eight."""
    by_walker = walkers >= FEWEST_GROUPS
    n = walkers if by_walker else draws
    if n < FEWEST_GROUPS:
        return []
    every = torch.arange(draws), torch.arange(walkers)
    found = []
    for group in torch.arange(n).tensor_split(min(_GROUPS, n)):
        left = torch.ones(n, dtype=torch.bool)
        left[group] = False
        kept = left.nonzero()[:, 0]
        found.append((every[0], kept) if by_walker else (kept, every[1]))
    return found
