"""Levels of a reference from samples that something else has drawn, and whether they fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jeffreysflow.analysis.imported_angles import check_angles
from jeffreysflow.analysis.imported_axes import between_neighbours
from jeffreysflow.analysis.imported_copies import different, duplicated
from jeffreysflow.analysis.imported_energies import (
    check_energies,
    in_its_unit,
    without_measure,
)
from jeffreysflow.analysis.imported_overlap import overlap_advice
from jeffreysflow.analysis.imported_stores import check_place
from jeffreysflow.analysis.imported_weights import (
    given_energies,
    log_weights_of,
    marked,
    weightless,
)
from jeffreysflow.config import Experiment, SamplesConfig
from jeffreysflow.config.samples_reference import SampleFiles
from jeffreysflow.distillation.ensemble import systematic_indices
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.force_balance import largest_imbalance
from jeffreysflow.estimation.thermometers import Thermometer, by_gradients, by_neighbours
from jeffreysflow.launch.target import build_path
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.progress import Progress
from jeffreysflow.stores.levels import Samples
from jeffreysflow.stores.sample_files import ReadSamples, read_samples
from jeffreysflow.stores.sample_weights import with_log_weights
from jeffreysflow.stores.tables import DiagnosticRow
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.ladder import cumulative_barrier
from jeffreysflow.tempering.swaps import swap_acceptance

__all__ = ["ImportedLevels"]

_ROWS = 1 << 14
_GRADIENT_ROWS = 1 << 16
_FEWEST_KEPT = 0.5


class ImportedLevels:
    """The levels of a reference of ``kind: samples``, one after the other; when all have passed,
    ``rows`` says what was found of them, ``advice`` what to do about it, and ``notes`` what was
    left out and is nothing to worry about.
    """

    def __init__(self, experiment: Experiment, reference: str, section: SamplesConfig) -> None:
        self._experiment, self._name, self._section = experiment, reference, section
        self._path = build_path(experiment, reference)
        self._rejection: list[float] = []
        self.rows: list[DiagnosticRow] = []
        self.notes: list[str] = []

    @property
    def advice(self) -> list[str]:
        """A line for each pair of levels that hardly overlap."""
        return overlap_advice(self._section, [1 - r for r in self._rejection])

    @property
    def dimension(self) -> int:
        return self._path.domain.dimension

    def __iter__(self) -> Iterator[Samples]:
        """Samples [n, ...] of each level, draw by draw, with energies along the reference's path.

        Raises
        ------
        UserError : a file has changed, is damaged, or holds no samples of this energy.
        """
        section, below = self._section, None
        progress = Progress(section.levels, f"import {self._name}", "levels")
        entries: list[SampleFiles | None] = [None, *section.files][section.path == "power" :]
        for k, (lam, entry) in enumerate(zip(section.lambdas, entries, strict=True)):
            level = self._base_level() if entry is None else self._level(k, lam, entry)
            V = level.V.reshape(section.draws, section.walkers)
            if below is not None:
                self._add_pair(k, lam, lam - section.lambdas[k - 1], below, V)
            below = V
            yield level
            progress.update(k + 1)
        progress.close()
        barrier = cumulative_barrier(np.array(self._rejection)).tolist()
        for k, (lam, value) in enumerate(zip(section.lambdas, barrier, strict=True)):
            self._add(k, lam, "barrier", value)

    def _add(self, k: int, lam: float, quantity: str, value: float) -> None:
        self.rows.append(DiagnosticRow("level", k, lam, "", quantity, value))

    def _base_level(self) -> Samples:
        assert self._path.base is not None
        stream = Stream(self._experiment.seed, self._experiment.name, self._name, "base level")
        x = self._path.base.sample(self._section.samples, stream)
        return Samples(x, *_energies(self._path, x))

    def _level(self, k: int, lam: float, entry: SampleFiles) -> Samples:
        section = self._section
        files = [Path(file) for file in entry.files]
        where = f"{self._name}, level {k} ({', '.join(file.name for file in files[:3])})"
        parts = []
        for file, weights, found in zip(files, entry.weights, entry.found, strict=True):
            read = read_samples(file, entry.level, self._path.target, found.digest)
            if weights is not None:
                read = with_log_weights(read, Path(weights), str(found.weights))
            check_place(file, read.place, section.path, lam)
            # before draws are left out: of those that remain an unwrapped angle may jump
            check_angles(torch.from_numpy(read.x), self._path.domain, where)
            parts.append(_taken(in_its_unit(read, section), section))
        beside = max(between_neighbours(torch.from_numpy(part.x)) for part in parts)
        self._add(k, lam, "neighbours_correlate", beside)
        x = torch.from_numpy(np.concatenate([part.x for part in parts], axis=1))
        others, weighed = marked(parts, "foreign"), ~weightless(parts)
        self._note_turned(k, marked(parts, "turned"), where)
        copies = duplicated(x, weighed & ~others)
        x = self._path.domain.turned(x)
        inside = _inside(x, self._path.domain)
        as_read = x.flatten(0, 1)
        flat = self._placed(k, as_read, marked(parts, "unplaced").flatten())
        U_0, V = _energies(self._path, flat, inside.flatten())
        U = U_0 + V
        if bool(U.isnan().any()):
            raise UserError(
                f"{where}: the energy is not a number at {int(U.isnan().sum())} of {len(U)} samples"
            )
        power = section.path == "power"
        bare = V if power else without_measure(U, flat, self._path.target.measure)
        for ours, known in ((False, bare), (True, interpolated(U_0, V, lam))):
            known = known.masked_fill(~weighed.flatten(), math.inf).reshape(x.shape[:2])
            pair = given_energies(parts, known, ours=ours)
            if pair is not None:
                offset = check_energies(*pair, section, where, ours=ours)
                self._add(k, lam, "energy_offset", offset)
        beyond = ~others & ~U.isfinite().reshape(x.shape[:2])
        for those, what in (
            (others, "are frames of another molecule, such as a mirror image"),
            (
                beyond,
                "lie where the density is 0, beyond walls or of infinite energy: other units, or "
                "samples of something else",
            ),
        ):
            share = float(those[weighed].double().mean()) if bool(weighed.any()) else 0.0
            if share > 1 - _FEWEST_KEPT:
                raise UserError(f"{where}: {share:.0%} of its samples {what}")
        names = [file.name for file in files]
        log_weights, shares = log_weights_of(parts, ~(others | beyond), names, where)
        self._add(k, lam, "duplicated", copies)
        self._add(k, lam, "dropped", float(shares[beyond].sum()))
        self._add(k, lam, "foreign", float(shares[others].sum()))
        rows = torch.arange(len(U)) if log_weights is None else self._resampled(k, lam, log_weights)
        self._add(k, lam, "different", different(as_read[rows]))
        level = Samples(flat[rows], U_0[rows], V[rows])
        self._add_identities(k, lam, level)
        return level

    def _note_turned(self, k: int, turned: torch.Tensor, where: str) -> None:
        """What is left of frames [draw, walker] without those that are cis for trans are samples of
        the target.
        """
        count, all_of_them = int(turned.sum()), turned.numel()
        what = "turned about a stiff bond, cis for trans"
        if count == all_of_them:
            raise UserError(f"{where}: all of its {count} frames are {what}: no sample is left")
        if count:
            self.notes.append(
                f"{count} of {all_of_them} frames of level {k} are {what}: they were left out, as "
                "the target has it"
            )

    def _placed(self, k: int, x: torch.Tensor, unplaced: torch.Tensor) -> torch.Tensor:
        """Samples [n, d] with centroids where they are ``unplaced`` [n]."""
        if not bool(unplaced.any()):
            return x
        target = self._path.target
        assert isinstance(target, Molecule)
        assert target.place is not None
        stream = Stream(self._experiment.seed, self._experiment.name, self._name, "centroids", k)
        return torch.where(unplaced.unsqueeze(1), target.place(x, stream), x)

    def _resampled(self, k: int, lam: float, log_weights: torch.Tensor) -> torch.Tensor:
        """Rows [n] of equal weight, in the order of the trajectories, one after the other, of
        which consecutive pieces become the new ones: as many, and hardly mixed where weights are
        nearly equal.
        """
        draws, walkers = log_weights.shape
        weights = log_weights.T.flatten()
        p = torch.softmax(weights, dim=0)
        of_trajectories = p.reshape(walkers, draws).sum(dim=1)
        self._add(k, lam, "trajectories_ess", float(1 / of_trajectories.square().sum() / walkers))
        stream = Stream(self._experiment.seed, self._experiment.name, self._name, "weights", k)
        chosen = systematic_indices(weights, draws * walkers, stream)
        walker, draw = chosen // draws, chosen % draws
        return (draw * walkers + walker).reshape(walkers, draws).T.flatten()

    def _add_identities(self, k: int, lam: float, level: Samples) -> None:
        path, section = self._path, self._section
        if path.target.derivatives < 1:
            return
        x = level.x.reshape(section.draws, section.walkers, -1)
        x = x[:: math.ceil(section.samples / _GRADIENT_ROWS)]
        parts = torch.split(x.flatten(0, 1), _ROWS)
        at = torch.tensor(lam, dtype=torch.float64)
        gradient = torch.cat([path.evaluate(part).gradient(at) for part in parts]).reshape(x.shape)
        self._add_thermometer("level", k, lam, by_gradients(x, gradient, path.domain))
        force = largest_imbalance(x, gradient, path.domain)
        if not math.isnan(force.error):
            series = f"x{force.coordinate + 1}"
            row = DiagnosticRow("level", k, lam, series, "mean_force", force.units, force.error)
            self.rows.append(row)

    def _add_pair(
        self, k: int, lam: float, step: float, below: torch.Tensor, V: torch.Tensor
    ) -> None:
        self._add_thermometer("pair", k, lam, by_neighbours(below, V, step))
        # of a sample of each level, what a swap of the two would be accepted with
        energies = torch.stack([below.flatten(), V.flatten()])
        accepted = float(swap_acceptance(energies, torch.tensor([0.0, step]).double()).mean())
        self._rejection.append(1 - accepted)
        self.rows.append(DiagnosticRow("pair", k, lam, "", "swap_acceptance", accepted))

    def _add_thermometer(self, scope: str, k: int, lam: float, found: Thermometer) -> None:
        if not math.isnan(found.ratio):
            error, dof = (None if math.isnan(v) else v for v in (found.error, found.dof))
            row = ("", "temperature_ratio", found.ratio, error, dof)
            self.rows.append(DiagnosticRow(scope, k, lam, *row))


def _taken(found: ReadSamples, section: SamplesConfig) -> ReadSamples:
    """The draws of a file's trajectories that are used, as many as the shortest one gives."""
    draws = len(found.x)
    if section.draws * section.thin >= draws - section.discard:
        rows = section.discard + section.thin * np.arange(section.draws)
    else:
        rows = np.linspace(section.discard, draws - 1, section.draws).round().astype(int)
    kept: dict[str, Any] = {
        name: values[rows]
        for name, values in found._asdict().items()
        if isinstance(values, np.ndarray)
    }
    return found._replace(**kept)


def _inside(x: torch.Tensor, domain: Domain) -> torch.Tensor:
    """Which samples [...] lie between the walls."""
    inside = torch.ones(x.shape[:-1], dtype=torch.bool)
    for i, wall in enumerate(domain.walls):
        if wall is not None:
            inside &= (x[..., i] >= wall[0]) & (x[..., i] <= wall[1])
    return inside


@torch.no_grad()
def _energies(
    path: AnnealingPath, x: torch.Tensor, inside: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(U_0, V)`` [n]; V is +inf where it is not ``inside``, of which no energy is asked."""
    U_0, V = torch.zeros(len(x)).double(), torch.full((len(x),), math.inf).double()
    rows = torch.arange(len(x)) if inside is None else inside.nonzero()[:, 0]
    for some in torch.split(rows, _ROWS):
        U_0[some], V[some] = path.energies(x[some])
    return U_0, torch.where((U_0 + V).isposinf(), math.inf, V)
