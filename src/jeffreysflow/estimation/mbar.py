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

from jeffreysflow.estimation.group_errors import FEWEST_GROUPS, LEAST_DOF, group_errors
from jeffreysflow.estimation.series import FEWEST_VISITS, LEAST_TIMES, batches, memory, raised

__all__ = ["Reweighted", "log_ratios", "reweighted"]

_STEPS = 200
_DONE = 1e-10
_GROUPS = 16
_FEWEST_SHARED = 1.0
"""Samples that belong as much to one part of the levels as to the other."""


@dataclass(frozen=True)
class Reweighted:
    """Averages at each of L values of lambda: ``means`` [L, J], their ``errors`` and the ``dof`` of
    these; ``log_z`` [L] above that of the last level with ``log_z_errors`` and ``log_z_dof``;
    ``ess`` [L], the effective share of all samples. Errors that are not known are NaN.
    """

    means: torch.Tensor
    errors: torch.Tensor
    dof: torch.Tensor
    log_z: torch.Tensor
    log_z_errors: torch.Tensor
    log_z_dof: torch.Tensor
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
    """Means [L, J] of ``values`` [K, n, J] beside ``V`` [K, n], ``log Z`` [L] above that of the
    last level, and ESS [L].
    """
    centre = _centre(V)
    flat = (V - centre).flatten()
    f = f - (lam - lam[0]) * centre
    mixture = math.log(V.shape[1]) + (f - _times(lam, flat[:, None])).logsumexp(dim=1)
    log_w = -_times(at[:, None], flat) - mixture
    log_z = log_w.logsumexp(dim=1)
    w = (log_w - log_z[:, None]).exp()
    last = -_times(lam[-1:], flat) - mixture
    means = w @ values.flatten(0, 1)
    log_z = log_z - last.logsumexp(dim=0) - (at - lam[-1]) * centre
    return means, log_z, 1 / (w.square().sum(dim=1) * len(flat))


def reweighted(
    V: torch.Tensor, values: torch.Tensor, lam: Sequence[float], at: Sequence[float]
) -> Reweighted:
    """Averages at every lambda of ``at`` [L], of ``values`` [K, draw, walker, J] beside ``V`` [K,
    draw, walker], kT, of all levels at ``lam`` [K].

    Errors are by leaving out one group of walkers at a time, with all their draws at all levels,
    between which replicas travel; of fewer than eight walkers, one batch of one of them at a time,
    of six autocorrelation times where that leaves eight (``series_mean``). There is none where the
    series of fewer than eight walkers hold fewer than 50 autocorrelation times, those of V
    included, at some level; nor of an event that was met, or missed, fewer than 5 times, or of what
    hardly more than one group makes.

    Raises
    ------
    ValueError : the levels have too little in common.
    """
    levels, grid = (torch.tensor(list(x), dtype=torch.float64) for x in (lam, at))
    V, values = V.double(), values.double()
    _, draws, walkers = V.shape
    few = walkers < FEWEST_GROUPS
    flat, its_values = V.flatten(1), values.flatten(1, 2)
    ratios = log_ratios(flat, levels)
    means, log_z, ess = _averages(flat, its_values, levels, grid, -ratios)
    of_V = _memory(V[..., None])
    taus = torch.cat([torch.maximum(_memory(values), of_V), of_V])
    known = taus <= draws * walkers / LEAST_TIMES if few else torch.ones(len(taus)).bool()
    pieces = 1
    if few and bool(known.any()):
        pieces = batches(draws, walkers, float(taus[known].max()), _GROUPS)
    without = []
    for kept in _groups(draws, walkers, pieces) if bool(known.any()) else []:
        f = -log_ratios(flat[:, kept], levels, ratios)
        less = _averages(flat[:, kept], its_values[:, kept], levels, grid, f)
        without.append(torch.column_stack(less[:2]).flatten())
    both = torch.column_stack([means, log_z])
    unknown = torch.full_like(both, math.nan)
    errors, dof = unknown, unknown
    if without:
        found = group_errors(both.flatten(), torch.stack(without))
        errors, dof = (each.reshape(both.shape) for each in found)
    if few:
        factors = [raised(tau, draws * walkers / tau, draws // pieces) for tau in taus.tolist()]
        errors = errors * torch.tensor(factors, dtype=torch.float64).sqrt()
    samples = ess[:, None] * flat.numel() / taus
    visits = torch.column_stack([_rarer(means, its_values), unknown[:, -1:]]) * samples
    dof = torch.fmin(dof, visits)
    none = ~known | ~(dof >= LEAST_DOF) | (visits < FEWEST_VISITS)
    errors, dof = (each.masked_fill(none, math.nan) for each in (errors, dof))
    return Reweighted(
        *(means, errors[:, :-1], dof[:, :-1]),
        *(log_z, errors[:, -1], dof[:, -1], ess),
    )


def _memory(values: torch.Tensor) -> torch.Tensor:
    """The longest memory [J] of ``values`` [K, draw, walker, J] at any level; where a series is no
    more than one value at all of them, 1.
    """
    taus = [[memory(level[..., j]) for level in values] for j in range(values.shape[-1])]
    longest = torch.tensor(taus, dtype=torch.float64).nan_to_num(nan=1.0)
    return longest.reshape(values.shape[-1], -1).amax(dim=1)


def _rarer(means: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of the ``means`` [L, J] of ``values`` [K, n, J] that are one of two numbers, the share of the
    rarer; NaN for others.
    """
    flat = values.flatten(0, 1)
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    two = ((flat == low) | (flat == high)).all(dim=0) & (low < high)
    share = (means - low) / (high - low)
    return torch.minimum(share, 1 - share).masked_fill(~two, math.nan)


def _groups(draws: int, walkers: int, pieces: int) -> list[torch.Tensor]:
    """For each group the samples ``draw * walkers + walker`` that are left without it: all of some
    walkers, or where each is cut into several ``pieces``, one of these.
    """
    sample = torch.arange(draws * walkers)
    draw, walker = sample // walkers, sample % walkers
    if pieces == 1:
        sides = torch.arange(walkers).tensor_split(min(_GROUPS, walkers))
        return [sample[~torch.isin(walker, side)] for side in sides]
    piece = draw * pieces // draws
    return [
        sample[(walker != each) | (piece != part)]
        for each in range(walkers)
        for part in range(pieces)
    ]
