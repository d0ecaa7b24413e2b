"""What the flow of one level is trained with, and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cached_property, partial
from typing import NamedTuple, get_args

import torch

from jeffreysflow.distillation.batches import Batch, FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.clipped_energy import clipped_above
from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.ensemble import Ensemble, conditional_ess, resampled
from jeffreysflow.distillation.loss import Side
from jeffreysflow.distillation.minibatch_energies import MinibatchEnergies
from jeffreysflow.distillation.outside import outside_facts
from jeffreysflow.distillation.parts import Part, Reference, finishing_rows, rows_of, which
from jeffreysflow.distillation.pushing import base_ensemble, pushed
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Transport
from jeffreysflow.errors import MapError
from jeffreysflow.estimation.fit_base import fit_gaussians
from jeffreysflow.estimation.spread_rows import spread_rows
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.map import TransportMap, build_map
from jeffreysflow.flows.sizes import MOST_ROWS
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.streams import Stream

__all__ = ["Pushed", "Step"]


_FEWEST_WATCHED = 50
_PULLED_BACK = 256


class Pushed(NamedTuple):
    """The ensemble below after a map, the logarithms of its weight factors [n], and the conditional
    ESS of the rows that choose.
    """

    ensemble: Ensemble
    increments: torch.Tensor
    score: float


class Step:
    """The samples on both sides of a level, each divided into parts (`parts`).

    ``below`` is the ensemble of the level below (at level 1, exact base samples), ``rows`` are its
    rows by part. At level 1, where training draws fresh base samples, it sees none of them, and
    ``trained_on`` is false.

    Parameters
    ----------
    below : the ensemble of the level below; ``None`` at level 1.
    reference : float64 samples of this level's tempering, or of another ensemble at this level.
    stream : the random stream of each purpose.
    reference_below : what training begins from in the place of the islands of ``below`` that train.
    """

    def __init__(
        self,
        path: AnnealingPath,
        settings: LevelSettings,
        below: Ensemble | None,
        reference: Reference,
        stream: Callable[[str], Stream],
        reference_below: Reference | None = None,
    ) -> None:
        assert path.base is not None
        self._path, self._base, self._settings, self._stream = path, path.base, settings, stream
        self.reference, self.trained_on = reference, below is not None
        self.below = (
            base_ensemble(path, settings.ensemble, stream("ensemble")) if below is None else below
        )
        self.rows = {part: self._rows(part) for part in get_args(Part)}
        self._sources: KnownSamples | None = None
        self.energies = _energy_at(path, settings.lam_0), _energy_at(path, settings.lam_1)
        box_of, source = [reference.training], self.below.x
        U: torch.Tensor | None
        if self.trained_on:
            seen = self.below.rows(self.rows["train"])
            box_of.append(seen.x)
            if reference_below is None:
                n = min(len(seen.x), len(reference.training))
                drawn = resampled(seen, n, stream("resampled source"))
                moved, _ = self._moved(drawn, settings.lam_0, stream("moved source"))
                source, U = moved.x, interpolated(moved.U_0, moved.V, settings.lam_0)
            else:
                source, U = reference_below.training, reference_below.U_training
                box_of.append(source)
            rounded = path.domain.rounded(source, settings.dtype)
            self._sources = KnownSamples(rounded, self.energies[0], U)
        self._targets = KnownSamples(
            path.domain.rounded(reference.training, settings.dtype),
            self.energies[1],
            reference.U_training,
        )
        self._variances = self._variance(source), self._variance(reference.training)
        self._box = spline_box(path.base, *box_of)

    def _rows(self, part: Part) -> torch.Tensor:
        islands, n = self._settings.islands, len(self.below.x)
        return rows_of(which(part, islands), islands, n).to(self.below.x.device)

    @property
    def identity(self) -> torch.Tensor:
        """Logarithms of the weight factors [n] of no flow: plain tempered reweighting."""
        below, settings = self.below, self._settings
        if self._path.power and settings.lam_0 == 0.0:
            # the base is no level of a power path
            with torch.no_grad():
                U_0 = self._path.reference_energy(below.x)
            V = below.U_0 + below.V - U_0
            log_w = below.U_0 - interpolated(U_0, V, settings.lam_1)
        else:
            log_w = -(settings.lam_1 - settings.lam_0) * below.V
        return torch.where(torch.isfinite(log_w), log_w, -torch.inf)

    def conditional_ess(self, increments: torch.Tensor, part: Part) -> float:
        """Over the rows of one part, of weight factors [n] of all rows."""
        rows = self.rows[part]
        return conditional_ess(self.below.log_weights[rows], increments[rows])

    def new_flow(self, start: TransportMap | None = None) -> TransportMap:
        """The identity, or what ``start`` has learnt on the intervals of this level, ready to be
        trained.
        """
        flow = deepcopy(self._untrained)
        if start is not None:
            flow.start_from(start)
        dtype = torch.float64 if flow.is_trained else self._settings.dtype
        return flow.to(self.below.x.device, dtype)

    @cached_property
    def _untrained(self) -> TransportMap:
        settings, stream = self._settings, self._stream("weights")
        flow = build_map(settings.kind, settings.network, self._box, self._base, stream)
        if flow.components:
            test, watched = self.reference.test, self.reference.watched
            samples = self.reference.training, test if watched is None else watched
            gradient = self._gradient if self._path.target.derivatives else None
            stream = self._stream("components")
            flow.start_at(fit_gaussians(*samples, flow.components, stream, gradient))
        return flow

    def _gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Of the target's energy [n, d]."""
        parts = torch.split(x.to(self.below.x.device), self._settings.batch or MOST_ROWS)
        found = [self._path.counted.energy_and_gradient(part)[1] for part in parts]
        return torch.cat(found).to(x)

    def start(self, flow_below: TransportMap | None) -> TransportMap | None:
        """The flow of the level below where, untrained, it is a map of this level's samples and
        does better than the identity.
        """
        if flow_below is None:
            return None
        few = self.rows["choose"][:MOST_ROWS]
        sample = self.below.rows(few)
        try:
            _, increments = self._pushed(self.new_flow(flow_below), sample)
        except MapError:
            return None
        ess = conditional_ess(sample.log_weights, increments)
        return flow_below if ess > conditional_ess(sample.log_weights, self.identity[few]) else None

    def transport(self, attempt: int) -> Transport:
        """The batches and energies of one training; every attempt has its own order of batches."""
        batch, dtype = self._settings.recipe.batch, self._settings.dtype
        number = f" {attempt}" if attempt else ""
        fresh = self._stream("source" + number)
        if self._sources is None:
            draw = partial(self._base.sample, batch, fresh, dtype=dtype)
            source: Iterator[Batch] = FreshBatches(draw, self.energies[0])
        else:
            source = ShuffledBatches(self._sources, batch, fresh)
        reference = ShuffledBatches(self._targets, batch, self._stream("reference" + number))
        estimated, settings = None, self._settings
        if settings.terms is not None:
            estimated = MinibatchEnergies(
                *(self._path, settings.lam_0, settings.lam_1, settings.terms),
                lambda step: self._stream(f"terms{number} of step {step}"),
            )
        energy_0, energy_1 = self.energies
        if settings.clip_energy:
            energy_1 = clipped_above(energy_1, self._reference_energies)
        sides = source, reference, energy_0, energy_1, *self._variances
        return Transport(*sides, self._held_out, estimated)

    @property
    def _reference_energies(self) -> torch.Tensor:
        known = self.reference.U_training
        if known is not None:
            return known
        training = self.reference.training
        rows = spread_rows(len(training), MOST_ROWS).to(training.device)
        with torch.no_grad():
            return self.energies[1](training[rows])

    @cached_property
    def _held_out(self) -> dict[Side, Batch]:
        """A batch of each side that training never sees: of the islands that choose, and of what of
        the reference is watched; none where that is next to nothing.
        """
        settings, reference = self._settings, self.reference
        if reference.watched is None or len(reference.watched) < _FEWEST_WATCHED:
            return {}
        source = self.below.rows(self.rows["choose"])
        n = min(settings.recipe.batch, len(source.x))
        if self.trained_on:
            source = resampled(source, n, self._stream("resampled held-out source"))
        U_0 = interpolated(source.U_0, source.V, settings.lam_0)[:n]
        few = slice(None, None, -(-len(reference.watched) // settings.recipe.batch))
        watched = reference.watched[few]
        known = reference.U_watched
        U_1 = self.energies[1](watched) if known is None else known[few]
        batches: dict[Side, tuple[torch.Tensor, torch.Tensor]]
        batches = {"source": (source.x[:n], U_0), "reference": (watched, U_1)}
        return {
            side: Batch(*(values.to(settings.dtype) for values in batch))
            for side, batch in batches.items()
        }

    def push(self, flow: TransportMap) -> Pushed:
        """The ensemble below through ``flow``, which is in float64 from then on."""
        ensemble, increments = self._pushed(flow, self.below)
        return Pushed(ensemble, increments, self.conditional_ess(increments, "choose"))

    def finish(self, flow: TransportMap, attempt: int) -> None:
        """Let the map learn what its weights need, from samples that nothing else sees or that it
        has been trained on; it is in float64 from then on.
        """
        rows = self.rows["train"][: finishing_rows(self._settings.ensemble, self._settings.islands)]
        z = self.below.x[rows]
        number = f" {attempt}" if attempt else ""

        def normals(*shape: int) -> torch.Tensor:
            return self._stream(f"finishing{number}").normal(*shape, device=z.device)

        flow.to(torch.float64).finish(z, normals)
        y = self.reference.test
        flow.refuse_folds(y[spread_rows(len(y), _PULLED_BACK)])

    def outside(self, ensemble: Ensemble) -> dict[str, float]:
        """What of base, reference, pushed ensemble and, at the last level, of the target by its
        energy lies outside the box of this level.
        """
        energy = self.energies[1] if self._settings.lam_1 == 1.0 else None
        reference = torch.cat([side for side in self.reference.sides if side is not None])
        return outside_facts(self._base, self._box, reference, ensemble, energy)

    def moved(self, ensemble: Ensemble, stream: Stream) -> tuple[Ensemble, float]:
        """The ensemble after this level when rejuvenated, and the acceptance. The step size is
        found on the part that trains.
        """
        return self._moved(ensemble, self._settings.lam_1, stream, self.rows["train"])

    def _moved(
        self, ensemble: Ensemble, lam: float, stream: Stream, tuned_on: torch.Tensor | None = None
    ) -> tuple[Ensemble, float]:
        settings = self._settings
        steps, batch = settings.rejuvenation_steps, settings.batch or MOST_ROWS
        kernel, size = settings.rejuvenation_kernel, settings.rejuvenation_step
        return rejuvenated(ensemble, self._path, lam, kernel, steps, batch, stream, tuned_on, size)

    def _variance(self, x: torch.Tensor) -> float:
        if self._base.tails is not None:
            # it may be infinite, and one sample would decide which divergence counts
            return 1.0
        return float(self._path.domain.variance(x).sum())

    def _pushed(self, flow: TransportMap, ensemble: Ensemble) -> tuple[Ensemble, torch.Tensor]:
        settings = self._settings
        return pushed(
            flow.to(torch.float64),
            self._path,
            settings.lam_0,
            settings.lam_1,
            ensemble,
            settings.batch or flow.rows_at_once,
            lambda tile: self._stream(f"directions of tile {tile}"),
        )


def _energy_at(path: AnnealingPath, lam: float) -> Energy:
    # at the ends one of the two energies need not be computed
    if lam == 0.0 and path.base is not None:
        return path.base.energy
    if lam == 1.0:
        return path.counted.energy
    return partial(path.energy, lam=lam)
