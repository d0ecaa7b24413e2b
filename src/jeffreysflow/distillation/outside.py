"""How much of base, reference and target lies outside the box on which a flow acts.

Outside its box a flow is the identity, so there only the base's own mass is ever drawn. What the
target has there and the base has not is missing from all samples, and no weight shows it. The
energy does: for any density ``p``, any set S and dilation ``T x = m + 2^j (x - m)`` of k
coordinates,

    ``p(T S) = E_p[ 1_S(x) 2^(j k) exp(U(x) - U(T x)) ]``,

so that the mass of far shells follows from samples of a near one, where there are many.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.flows.box import Box
from jeffreysflow.potentials import Base

__all__ = ["Beyond", "mass_beyond", "outside_facts"]

_QUANTILE = 0.95
_ROWS = 100
_DOUBLINGS = 8
_LARGEST = 1e100
"""What stands for an infinite mass: an energy without a lower bound."""


class Beyond(NamedTuple):
    """The target's ``share`` outside a box, its standard ``error``, and the degrees of freedom
    ``dof`` of the Student's t whose tails fall alike: infinite where they fall faster than a power,
    not positive where the density cannot be normalised.
    """

    share: float
    error: float
    dof: float


def outside_facts(
    base: Base, box: Box, reference: torch.Tensor, ensemble: Ensemble, energy: Energy | None
) -> dict[str, float]:
    """What lies outside ``box`` in any coordinate.

    ``outside_base``, the exact probability of a base sample; ``outside_reference``, the share of
    the ``reference_samples`` [N, d]; ``outside_target``, the weighted share of the pushed
    ``ensemble``. With the target's ``energy`` also ``outside_predicted`` with its error, and
    ``tail_dof``, by ``mass_beyond``.
    """
    lower, upper = (torch.tensor(ends, dtype=torch.float64) for ends in (box.lower, box.upper))
    open_ = torch.tensor(box.open)

    def outside(x: torch.Tensor) -> torch.Tensor:
        beyond = (x < lower.to(x)) | (x > upper.to(x))
        return (beyond & open_.to(x.device)).any(dim=1)

    weights = torch.softmax(ensemble.log_weights, dim=0)
    facts = {
        "outside_base": base.outside(lower, upper),
        "outside_reference": float(outside(reference).double().mean()),
        "reference_samples": float(len(reference)),
        "outside_target": float(weights[outside(ensemble.x)].sum()),
    }
    if energy is None:
        return facts
    try:
        beyond = mass_beyond(energy, ensemble, box)
    except Exception:
        # an energy may refuse points so far from all samples, and nothing depends on them
        return facts
    facts |= {"outside_predicted": beyond.share, "outside_predicted_error": beyond.error}
    if math.isfinite(beyond.dof):
        facts["tail_dof"] = beyond.dof
    return facts


@torch.no_grad()
def mass_beyond(energy: Energy, ensemble: Ensemble, box: Box) -> Beyond:
    """The mass of ``exp(-U)`` outside a box, from weighted samples inside and the energy outside.

    Shells of each Euclidean coordinate, and of all of them together, are dilated by powers of 2
    until they have passed the faces of the box by a factor of 128. The answer with the smaller
    relative error counts: one coordinate alone hardly shows tails that coordinates have together,
    and the reverse. Where the energy is NaN there is no mass.
    """
    euclidean = [i for i, open_ in enumerate(box.open) if open_]
    each = [_along([i], energy, ensemble, box) for i in euclidean]
    if not each:
        return Beyond(0.0, 0.0, math.inf)
    mass, error = sum(m.share for m in each), math.hypot(*(m.error for m in each))
    best = Beyond(mass, error, max(each).dof)
    if len(euclidean) > 1:
        best = min(best, _along(euclidean, energy, ensemble, box), key=_relative_error)
    # so far it is relative to what is inside
    share = best.share / (1 + best.share)
    return best._replace(share=share, error=best.error * share / max(best.share, 1e-300))


def _relative_error(beyond: Beyond) -> float:
    return beyond.error / beyond.share if beyond.share > 0 else math.inf


def _along(coordinates: list[int], energy: Energy, ensemble: Ensemble, box: Box) -> Beyond:
    x, none = ensemble.x, Beyond(0.0, 0.0, math.inf)
    weights = torch.softmax(ensemble.log_weights, dim=0)
    lower, upper = (torch.tensor(ends).to(x)[coordinates] for ends in (box.lower, box.upper))
    middle, half = 0.5 * (upper + lower), 0.5 * (upper - lower)
    r = ((x[:, coordinates] - middle) / half).abs().amax(dim=1)
    weighty = (weights > 0).nonzero()[:, 0]
    if not len(weighty):
        return none
    edge = min(float(torch.quantile(r[weighty][: 1 << 20], _QUANTILE)), 1.0)
    shell = weighty[(r[weighty] > 0.5 * edge) & (r[weighty] <= edge)]
    if not len(shell) or not edge > 0:
        return none
    rows = shell[:: math.ceil(len(shell) / _ROWS)]
    thinned = float(weights[shell].sum() / weights[rows].sum())
    first = math.floor(-math.log2(edge)) + 1
    powers = range(first, first + _DOUBLINGS)
    near, factors = x[rows], torch.tensor([2.0**j for j in powers]).to(x)
    far = near.repeat(_DOUBLINGS, 1, 1)
    far[:, :, coordinates] = middle + factors[:, None, None] * (near[:, coordinates] - middle)
    U = energy(far.flatten(0, 1)).reshape(_DOUBLINGS, -1)
    log_ratio = energy(near) - U + len(coordinates) * factors.log()[:, None]
    ratio = log_ratio.exp().nan_to_num(0.0, posinf=_LARGEST).clamp(max=_LARGEST)
    terms = thinned * weights[rows] * ratio
    terms = torch.where(factors[:, None] * r[rows] > 1, terms, 0.0)
    # from the first whole shell outside on
    shells = terms.sum(dim=1)[1:]
    dof = math.inf
    if float(shells[0]) > 0 and float(shells[-1]) > 0:
        dof = float((shells[0] / shells[-1]).log2()) / (len(shells) - 1)
    by_row = terms.sum(dim=0)
    return Beyond(float(by_row.sum()), float(by_row.square().sum().sqrt()), dof)
