"""The samples of one tile and the local moves on them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.host_reads import known_finite
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move
from jeffreysflow.tempering.metric import Spread
from jeffreysflow.tempering.noisy_kernel import NoisyKernel
from jeffreysflow.tempering.refusals import Refusals
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.start import Start
from jeffreysflow.tempering.tiles import Tile
from jeffreysflow.tempering.usable import check_stays, check_usable, left_alone, usable

__all__ = ["TileState"]

_DRAWS_FOR_A_START, _READ_EVERY = 1000, 16
"""Moves after which it is asked whether one met what has no energy, where that was not known."""


class TileState:
    """Samples of a tile, row = (replica, walker), its random stream, and its acceptance sums.

    Samples live on ``device``; what is counted is on the CPU, as the labels are. A round reads from
    the device once for its draws at lambda = 0 and once every sixteen local steps.

    ``accepted`` and ``attempts`` count moves by level [M + 1] since ``reset``, ``refused`` those
    that led to no energy; ``evaluations`` [2] those of the target's energy, in warm-up and while
    recording.
    """

    def __init__(
        self,
        tile: Tile,
        settings: TemperingSettings,
        path: AnnealingPath,
        device: torch.device | str = "cpu",
    ) -> None:
        n, d = math.prod(tile.shape), path.domain.dimension
        self.tile, self._device = tile, torch.device(device)
        self._name = "/".join(settings.address)
        self.stream = Stream(settings.seed, *settings.address, "tile", tile.index)
        self._settings, self._path = settings, path
        self.evaluations = torch.zeros(2, dtype=torch.int64)
        self.point = PathPoint(
            *(
                torch.full(shape, math.nan, dtype=settings.dtype, device=self._device)
                for shape in _shapes(n, d, d if path.gradients else 0)
            )
        )
        self._redraws, self._known = path.base is not None and settings.redraw_base, True
        self.spread: Spread | None = None
        if settings.metric == "diagonal":
            self.measure_spread()
        self.reset()

    def measure_spread(self) -> None:
        """Begin to sum how far samples spread at each level."""
        base, domain = self._path.base, self._path.domain
        origin = torch.zeros(domain.dimension) if base is None else base.mean
        self.spread = Spread(len(self._settings.ladder), domain, origin.to(self._device).double())

    def reset(self) -> None:
        """Forget the acceptance sums."""
        levels = len(self._settings.ladder)
        self.accepted = torch.zeros(levels, dtype=torch.float64)
        self.attempts = torch.zeros(levels, dtype=torch.int64)
        self.refused = Refusals(levels, self._path.domain.dimension)

    def start(self, base: Start, level: torch.Tensor, ladder: torch.Tensor) -> bool:
        """Put every replica at an independent sample of ``base`` that is not in a wall, and say
        whether any was.

        Raises
        ------
        UserError : an energy is NaN, or hardly any sample of the base has a finite one.
        """
        rows = level.reshape(-1)
        walled, met = torch.arange(len(rows)), False
        for _ in range(_DRAWS_FOR_A_START):
            self._draw(base, walled, rows, ladder)
            walled = self.point.V.isposinf().cpu().nonzero().squeeze(1)
            if not len(walled):
                return met
            met = True
        raise UserError(
            f"{self._name}: {len(walled)} of {len(rows)} replicas found no "
            f"start in {_DRAWS_FOR_A_START} draws each: hardly any sample of the base has a finite "
            "energy; choose base.mean and base.sd where the energy is finite"
        )

    def advance(
        self,
        level: torch.Tensor,
        ladder: torch.Tensor,
        step_size: torch.Tensor,
        kernel: Kernel,
        batches: torch.Tensor | None = None,
    ) -> None:
        """One round: local moves of every replica, an exact redraw of those at lambda = 0.

        ``level`` [replica, walker] are the labels of this tile, ``step_size`` is [M + 1, 1] or, one
        a coordinate, [M + 1, d]. A kernel that sees mini-batches is given ``batches`` [move, row,
        B], and energies are not known afterwards, until ``evaluate``.

        Raises
        ------
        UserError : an energy is NaN (of a proposal of a Metropolis kernel it is counted), or a
            kernel without an accept step is in a wall.
        """
        rows = level.reshape(-1)
        base = self._path.base if self._redraws else None
        if base is None:
            moving, idle = torch.arange(len(rows)), rows.new_empty(0)
        else:
            moving, idle = rows.nonzero().squeeze(1), (rows == 0).nonzero().squeeze(1)
        if len(moving) and isinstance(kernel, NoisyKernel):
            assert batches is not None
            self._drift(moving, rows, ladder, step_size, kernel, batches)
        elif len(moving):
            self._move(moving, rows, ladder, step_size, kernel)
        if base is not None and len(idle) and self._known:
            self._draw(base, idle, rows, ladder)
        elif base is not None and len(idle):
            x = base.sample(len(idle), self.stream, self._settings.dtype)
            self.point.x.index_copy_(0, idle.to(self._device), x)
        self.refused.rounds += 1
        if self.spread is not None:
            self.spread.add(self.point.x, rows)

    def _move(
        self,
        moving: torch.Tensor,
        rows: torch.Tensor,
        ladder: torch.Tensor,
        step_size: torch.Tensor,
        kernel: Kernel,
    ) -> None:
        level, where = rows[moving], moving.to(self._device)
        at = level.to(self._device)
        columns = (-1, self._path.domain.dimension)
        lam = ladder.to(self._device)[at].unsqueeze(1).expand(*columns).contiguous()
        h = step_size.to(self._device)[at].expand(*columns).contiguous()
        point = PathPoint(*(field.index_select(0, where) for field in self.point))
        total = torch.zeros_like(point.V)
        doubtful: list[Move] = []

        def settle() -> None:
            nonlocal total
            if not kernel.exact:
                self._check_moves(doubtful, moving, rows, ladder)
            total += self.refused.count(doubtful, level)
            doubtful.clear()

        for _ in range(self._settings.local_steps):
            move = kernel.step(point, lam, h, self._path, self.stream)
            if _known_usable(move, kernel):
                point = move.point
                total += move.acceptance
            else:
                doubtful.append(move)
                point = move.point if kernel.exact else left_alone(move, point)
            if len(doubtful) == _READ_EVERY:
                settle()
        if doubtful:
            settle()
        levels = len(self.accepted)
        weights = total.double().cpu()
        self.accepted += torch.bincount(level, weights=weights, minlength=levels)
        self.attempts += torch.bincount(level, minlength=levels) * self._settings.local_steps
        self._put(where, point)

    def _drift(
        self,
        moving: torch.Tensor,
        rows: torch.Tensor,
        ladder: torch.Tensor,
        step_size: torch.Tensor,
        kernel: NoisyKernel,
        batches: torch.Tensor,
    ) -> None:
        where, at = moving.to(self._device), rows[moving].to(self._device)
        lam, h = (values.to(self._device)[at] for values in (ladder.unsqueeze(1), step_size))
        x = self.point.x.index_select(0, where)
        x = kernel.sweep(x, lam, h, self._path, batches[:, moving], self.stream)
        check_stays(x, lambda bad: self._place(int(moving[bad]), rows, ladder), self._name)
        self.point.x.index_copy_(0, where, x)
        self._known = False

    def evaluate(self, level: torch.Tensor, ladder: torch.Tensor) -> None:
        """Find the energies where they are not known.

        Raises
        ------
        UserError : one is not finite.
        """
        if self._known:
            return
        self.point, self._known = self._path.evaluate(self.point.x), True
        rows = level.reshape(-1)
        drawn = (rows == 0) if self._redraws else torch.zeros_like(rows, dtype=torch.bool)
        for which, of_base in ((drawn, True), (~drawn, False)):
            where = which.nonzero().squeeze(1)
            part = PathPoint(*(field[where.to(self._device)] for field in self.point))
            self._refuse_unusable(part, where, rows, ladder, of_base=of_base)

    def _draw(
        self, base: Start, idle: torch.Tensor, rows: torch.Tensor, ladder: torch.Tensor
    ) -> None:
        point = self._path.evaluate(base.sample(len(idle), self.stream, self._settings.dtype))
        self._refuse_unusable(point, idle, rows, ladder, of_base=True)
        self._put(idle.to(self._device), point)

    def _put(self, where: torch.Tensor, point: PathPoint) -> None:
        for field, values in zip(self.point, point, strict=True):
            field.index_copy_(0, where, values)

    def _check_moves(
        self,
        moves: Sequence[Move],
        moving: torch.Tensor,
        rows: torch.Tensor,
        ladder: torch.Tensor,
    ) -> None:
        if bool(torch.stack([usable(move.point) for move in moves]).all()):
            return
        for move in moves:
            self._refuse_unusable(move.point, moving, rows, ladder)

    def _refuse_unusable(
        self,
        point: PathPoint,
        where: torch.Tensor,
        rows: torch.Tensor,
        ladder: torch.Tensor,
        *,
        of_base: bool = False,
    ) -> None:
        check_usable(
            point,
            lambda bad: self._place(int(where[bad]), rows, ladder),
            self._name,
            of_base=of_base,
        )

    def _place(self, row: int, rows: torch.Tensor, ladder: torch.Tensor) -> str:
        level, walker = int(rows[row]), self.tile.walkers.start + row % self.tile.shape[1]
        return f"level {level} (lambda {float(ladder[level]):.6g}), walker {walker}"

    def arrays(self) -> dict[str, np.ndarray]:
        """A snapshot of everything, to be given to ``restore``."""
        fields = {name: values.cpu().numpy() for name, values in self.point._asdict().items()}
        sums = {name: getattr(self, name).numpy() for name in _KEPT}
        stream = np.array(json.dumps(self.stream.state))
        spread = {} if self.spread is None else self.spread.arrays()
        known = np.array(self._known)
        parts = {**fields, **sums, **spread, **self.refused.arrays()}
        return {**parts, "known": known, "stream": stream}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a snapshot."""
        fields = (torch.tensor(arrays[name], device=self._device) for name in PathPoint._fields)
        self.point = PathPoint(*fields)
        for name in _KEPT:
            setattr(self, name, torch.tensor(arrays[name]))
        self._known = bool(arrays["known"])
        self.refused.restore(arrays)
        if "spread_count" not in arrays:
            self.spread = None
        elif self.spread is not None:
            self.spread.restore(arrays)
        self.stream.state = json.loads(str(arrays["stream"]))


_KEPT = ("accepted", "attempts", "evaluations")


def _known_usable(move: Move, kernel: Kernel) -> bool:
    proposed = move.proposed
    if kernel.exact:
        return known_finite(move.acceptance, proposed.V)
    return known_finite(proposed.U_0, proposed.V, proposed.grad_V)


def _shapes(n: int, d: int, gradients: int) -> tuple[tuple[int, ...], ...]:
    return (n, d), (n,), (n,), (n, gradients), (n, gradients)
