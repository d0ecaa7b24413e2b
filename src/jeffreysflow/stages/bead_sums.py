"""What one group of low modes says of the paths of N beads above them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jeffreysflow.config.path_integral import PathIntegralConfig
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.profiles import Profile
from jeffreysflow.pathintegral.added_modes import AddedModes
from jeffreysflow.pathintegral.derivatives import bead_derivatives, slope
from jeffreysflow.pathintegral.estimators import ESTIMATORS, bin_shares, path_energies
from jeffreysflow.pathintegral.normal_modes import to_beads
from jeffreysflow.pathintegral.ring_polymer import action
from jeffreysflow.pathintegral.takahashi_imada import FOURTH_ORDER, corrected, fourth_order
from jeffreysflow.potentials import Potential
from jeffreysflow.stages.measured import Measured
from jeffreysflow.streams import Stream

__all__ = ["BeadSums", "bead_sums"]

_COORDINATES = 1 << 16
"""Of all beads of the paths that are looked at together."""


@dataclass(frozen=True)
class BeadSums:
    """Sums over one group of paths of N beads.

    ``primitive``: the observables, the ``ESTIMATORS`` and the bins of the profiles; ``fourth``, by
    Takahashi-Imada weights: the corrected observables (those with a gradient) and the estimators of
    ``FOURTH_ORDER``. ``names`` and ``fourth_names`` are those of their columns. ``ess`` by
    reference of the added modes.
    """

    primitive: WeightedSums
    fourth: WeightedSums
    ess: dict[str, float]
    names: tuple[str, ...]
    fourth_names: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Sums over one slab, and those of the weights alone by reference of the added modes."""

    primitive: WeightedSums
    fourth: WeightedSums
    weights: dict[str, WeightedSums]
    names: tuple[str, ...]
    fourth_names: tuple[str, ...]


def bead_sums(
    V: Potential,
    ring: PathIntegralConfig,
    measured: Measured,
    low: Ensemble,
    beads: int,
    stream: Stream,
) -> BeadSums:
    """Extend generated low modes to N beads: ``log w = -U_N - log q(low) - log p(high | low)``.

    Both references of the added modes see the same random numbers; paths and averages are from the
    one the configuration names. Paths pass through in slabs of some 65,000 coordinates, since all
    derivatives of V at a bead take some four kilobytes of memory for each.

    Raises
    ------
    UserError : the energy of a path with weight is not a number, or infinitely low.
    """
    rows = max(_COORDINATES // (beads * V.dimension), 1)
    parts = [
        _part(V, ring, measured, low.rows(slice(start, start + rows)), beads, stream)
        for start in range(0, len(low.x), rows)
    ]
    weights = [part.weights for part in parts]
    return BeadSums(
        combined([part.primitive for part in parts]),
        combined([part.fourth for part in parts]),
        {name: combined([slab[name] for slab in weights]).ess for name in weights[0]},
        parts[0].names,
        parts[0].fourth_names,
    )


def _part(
    V: Potential,
    ring: PathIntegralConfig,
    measured: Measured,
    low: Ensemble,
    beads: int,
    stream: Stream,
) -> _Part:
    log_q = -(low.log_weights + low.U_0 + low.V)
    normal = stream.normal(len(low.x), (beads - ring.modes) * V.dimension)
    extended, weights = {}, {}
    for reference in ("plain", "curvature"):
        added = AddedModes(V, ring.beta, beads, ring.modes, reference)
        xi, log_p = added.extended(low.x, normal)
        log_w = -action(V, ring.beta, xi) - log_q - log_p
        # a sample of weight 0 has no density of its own
        log_w = torch.where(torch.isfinite(low.log_weights), log_w, -torch.inf)
        extended[reference] = xi, log_w
        weights[reference] = WeightedSums.of(log_w, log_w.new_empty(len(log_w), 0))
    xi, log_w = extended[ring.added_modes]
    x = _checked(V, to_beads(xi, ring.beta), log_w)
    at = bead_derivatives(V, x)
    energies, fourth = path_energies(V, x, ring.beta, at), fourth_order(V, x, ring.beta, at)
    plain, with_correction = _observed(V, measured, x, at.gradient, ring.beta)
    primitive = plain | {name: of(energies) for name, of in ESTIMATORS.items()}
    to_fourth = with_correction | {name: of(fourth) for name, of in FOURTH_ORDER.items()}
    bins = [_bin_shares(profile, x, at.energy) for profile in measured.profiles]
    values = torch.stack(list(primitive.values()), dim=1)
    return _Part(
        WeightedSums.of(log_w, torch.cat([values, *bins], dim=1)),
        WeightedSums.of(log_w + fourth.log_factor, torch.stack(list(to_fourth.values()), dim=1)),
        weights,
        (*primitive, *measured.bin_names),
        tuple(to_fourth),
    )


def _checked(V: Potential, x: torch.Tensor, log_w: torch.Tensor) -> torch.Tensor:
    """Paths [n, N, d], those of weight 0 replaced by another: beyond a wall nothing has a value.

    Raises
    ------
    UserError : a weight is not a number or infinite.
    """
    bad = (log_w.isnan() | (log_w == math.inf)).nonzero()
    if len(bad):
        path = x[int(bad[0])]
        energies = V.energy(path)
        bead = int((~torch.isfinite(energies)).nonzero().flatten()[:1].sum())
        raise UserError(
            f"beads: the potential is {float(energies[bead])} at x = {path[bead].tolist()}, on a "
            f"path of log weight {float(log_w[bad[0]])}"
        )
    absent = log_w == -math.inf
    if not bool(absent.any()):
        return x
    present = (~absent).nonzero()
    kept = x[int(present[0])] if len(present) else torch.zeros_like(x[0])
    return torch.where(absent[:, None, None], kept, x)


def _observed(
    V: Potential, measured: Measured, x: torch.Tensor, force: torch.Tensor, beta: float
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Averages [n] over the beads of each path, by name: of every observable, and to fourth order
    of those that have a gradient (``correctable``).

    Raises
    ------
    UserError : an observable is not finite at a bead.
    """
    beads = x.shape[1]
    plain, fourth = {}, {}
    with torch.enable_grad():
        y = x.detach().flatten(0, 1).requires_grad_()
        U = V.energy(y)
        for observable in measured.observables:
            values = observable.function(y, U).to(torch.float64).expand(len(y))
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                where = y[int(bad[0])].tolist()
                raise UserError(f"observable '{observable.name}' is not finite at x = {where}")
            name = f"observable:{observable.name}"
            plain[name] = values.detach().reshape(-1, beads).mean(dim=1)
            if values.requires_grad:
                gradient = slope(values, y)
                fourth[name] = corrected(values.detach(), gradient, force, beta, beads)
    return plain, fourth


def _bin_shares(profile: Profile, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
    values = profile.observable.function(x.flatten(0, 1), U).to(torch.float64)
    return bin_shares(values.expand(len(U)).reshape(x.shape[:2]), profile.edges)
