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
from jeffreysflow.launch.measured import Measured
from jeffreysflow.pathintegral.added_modes import AddedModes
from jeffreysflow.pathintegral.derivatives import BeadDerivatives, bead_derivatives, slope
from jeffreysflow.pathintegral.estimators import ESTIMATORS, bin_shares, path_energies
from jeffreysflow.pathintegral.normal_modes import to_beads
from jeffreysflow.pathintegral.ring_polymer import action, action_of_energies
from jeffreysflow.pathintegral.takahashi_imada import FOURTH_ORDER, corrected, fourth_order
from jeffreysflow.potentials import Potential
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
    one the configuration names. V is evaluated once a bead of either, for the latter with all
    derivatives that any estimate needs. Paths pass through in slabs of some 65,000 coordinates,
    since all derivatives of V at a bead take some four kilobytes of memory for each.

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
    log_weights, weights = {}, {}
    for reference in ("plain", "curvature"):
        added = AddedModes(V, ring.beta, beads, ring.modes, reference)
        xi, log_p = added.extended(low.x, normal)
        if reference == ring.added_modes:
            x = to_beads(xi, ring.beta)
            at = bead_derivatives(V, x)
            U = action_of_energies(at.energy, ring.beta, xi)
        else:
            U = action(V, ring.beta, xi)
        # a sample of weight 0 has no density of its own
        log_w = torch.where(torch.isfinite(low.log_weights), -U - log_q - log_p, -torch.inf)
        log_weights[reference] = log_w
        weights[reference] = WeightedSums.of(log_w, log_w.new_empty(len(log_w), 0))
    log_w = log_weights[ring.added_modes]
    x, at = _checked(x, at, log_w)
    energies, fourth = path_energies(V, x, ring.beta, at), fourth_order(V, x, ring.beta, at)
    plain, with_correction = _observed(measured, x, at, ring.beta)
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


def _checked(
    x: torch.Tensor, at: BeadDerivatives, log_w: torch.Tensor
) -> tuple[torch.Tensor, BeadDerivatives]:
    """Paths [n, N, d] and what is known at their beads, those of weight 0 replaced by another:
    beyond a wall nothing has a value.

    Raises
    ------
    UserError : a weight is not a number or infinite.
    """
    beads = x.shape[1]
    bad = (log_w.isnan() | (log_w == math.inf)).nonzero()
    if len(bad):
        path, energies = x[int(bad[0])], at.energy.reshape(-1, beads)[int(bad[0])]
        bead = int((~torch.isfinite(energies)).nonzero().flatten()[:1].sum())
        raise UserError(
            f"beads: the potential is {float(energies[bead])} at x = {path[bead].tolist()}, on a "
            f"path of log weight {float(log_w[bad[0]])}"
        )
    absent = log_w == -math.inf
    if not bool(absent.any()):
        return x, at
    present = (~absent).nonzero()
    if not len(present):
        return torch.zeros_like(x), BeadDerivatives(*map(torch.zeros_like, at))
    index = torch.arange(len(x)).masked_fill(absent, int(present[0]))
    return x[index], BeadDerivatives(
        *(field.reshape(len(x), -1)[index].reshape(field.shape) for field in at)
    )


def _observed(
    measured: Measured, x: torch.Tensor, at: BeadDerivatives, beta: float
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Averages [n] over the beads of each path, by name: of every observable, and to fourth order
    of those that have a gradient (``correctable``), ``dO/dx + dO/dU grad V``.

    Raises
    ------
    UserError : an observable is not finite at a bead.
    """
    beads = x.shape[1]
    plain, fourth = {}, {}
    with torch.enable_grad():
        y = x.detach().flatten(0, 1).requires_grad_()
        U = at.energy.detach().clone().requires_grad_()
        for observable in measured.observables:
            values = observable.function(y, U).to(torch.float64).expand(len(y))
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                where = y[int(bad[0])].tolist()
                raise UserError(f"observable '{observable.name}' is not finite at x = {where}")
            name = f"observable:{observable.name}"
            plain[name] = values.detach().reshape(-1, beads).mean(dim=1)
            if values.requires_grad:
                slopes = slope(values, y)
                if observable.uses_energy:
                    slopes = slopes + slope(values, U)[:, None] * at.gradient
                fourth[name] = corrected(values.detach(), slopes, at.gradient, beta, beads)
    return plain, fourth


def _bin_shares(profile: Profile, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
    values = profile.observable.function(x.flatten(0, 1), U).to(torch.float64)
    return bin_shares(values.expand(len(U)).reshape(x.shape[:2]), profile.edges)
