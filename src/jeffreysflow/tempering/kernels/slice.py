"""Slice sampling, one coordinate after the other, for energies without gradients."""

from __future__ import annotations

import torch

from jeffreysflow.errors import positive_integer
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move

_MOST_DRAWS = 100
"""Each draw that fails shrinks an interval; it is a point in the last bit long before."""


class Slice(Kernel):
    """A sweep over the coordinates (Neal 2003, doi 10.1214/aos/1056562461, sections 3 and 4).

    Along each coordinate the slice ``U(x) <= U(x_0) + e``, e exponential, is enclosed by an
    interval of the step size, placed at random and stepped out by as much, and x is drawn from it
    until it lies in the slice; the interval shrinks to each x that does not. A periodic coordinate
    is the line above the circle, with a periodic energy; between walls the interval ends at them.

    Its acceptance is the share of first draws that lie in the slice; step sizes adapt to .45 of
    it, near which fewest energies are evaluated, about six a coordinate. Energies that are NaN, or
    -inf, lie in no slice.

    Parameters
    ----------
    most_steps : the longest interval, in step sizes.
    """

    target_acceptance = 0.45
    gradients = False
    power = 1

    def __init__(self, most_steps: int = 10) -> None:
        self.most_steps = positive_integer("kernel 'slice': most_steps", most_steps)

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        lam = lam[:, 0]
        hits = torch.zeros_like(point.V)
        widths = step_size.expand_as(point.x)
        failed = point
        for coordinate in range(point.x.shape[1]):
            line = _Line(point, lam, coordinate, path)
            height = point.energy(lam) - torch.log1p(-line.uniform(stream))
            left, right = self._stepped_out(line, height, widths[:, coordinate], stream)
            point, first = _drawn(line, height, left, right, stream)
            hits += first
            bad = line.bad.unsqueeze(1)
            failed = failed._replace(x=torch.where(bad, line.bad_x, failed.x))
            hits = hits.masked_fill(line.bad, torch.nan)
        mean = hits / point.x.shape[1]
        met = mean.isnan()
        return Move(point, mean, point._replace(x=torch.where(met[:, None], failed.x, point.x)))

    def _stepped_out(
        self, line: _Line, height: torch.Tensor, width: torch.Tensor, stream: Stream
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both ends [n] of the interval, relative to where each sample is."""
        left = -width * line.uniform(stream)
        right = left + width
        steps = self.most_steps - 1
        to_left = torch.floor(self.most_steps * line.uniform(stream)).clamp(max=steps)
        to_right = steps - to_left
        for end, left_over, direction in ((left, to_left, -1), (right, to_right, 1)):
            out = left_over > 0
            if line.walls is not None:
                out &= line.between_walls(end)
            while bool(out.any()):
                rows = out.nonzero().squeeze(1)
                inside = line.energy(rows, end[rows]) <= height[rows]
                end[rows] += torch.where(inside, direction * width[rows], 0.0)
                left_over[rows] -= 1
                out[rows] = inside & (left_over[rows] > 0)
                if line.walls is not None:
                    out &= line.between_walls(end)
        if line.walls is not None:
            left, right = (end.clamp(*line.walls) for end in (left, right))
        return left, right


class _Line:
    """The lines along one coordinate through all samples; ``bad`` [n] where an energy was not a
    number, last at ``bad_x`` [n, d]; ``walls`` how far it is to both, [n] each, if there are any.
    """

    walls: tuple[torch.Tensor, torch.Tensor] | None = None

    def __init__(
        self, point: PathPoint, lam: torch.Tensor, coordinate: int, path: AnnealingPath
    ) -> None:
        self.start, self._lam, self._coordinate, self._path = point, lam, coordinate, path
        self.bad = torch.zeros_like(lam, dtype=torch.bool)
        self.bad_x = point.x
        if path.domain.walls and (wall := path.domain.walls[coordinate]):
            x = point.x[:, coordinate]
            self.walls = wall[0] - x, wall[1] - x

    def uniform(self, stream: Stream) -> torch.Tensor:
        """Uniform numbers [n]."""
        return stream.uniform(len(self._lam), dtype=self._lam.dtype, device=self._lam.device)

    def between_walls(self, distance: torch.Tensor) -> torch.Tensor:
        """Whether so far from where the samples are is still between the walls [n]."""
        assert self.walls is not None
        return (distance > self.walls[0]) & (distance < self.walls[1])

    def at(self, rows: torch.Tensor, distance: torch.Tensor) -> PathPoint:
        """The points at these distances from where the samples are."""
        x = self.start.x[rows]
        x[:, self._coordinate] += distance
        return self._path.evaluate(self._path.domain.wrap(x))

    def energy(self, rows: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """``U_lambda`` there; +inf where it is no number."""
        return self.energy_of(rows, self.at(rows, distance))

    def energy_of(self, rows: torch.Tensor, point: PathPoint) -> torch.Tensor:
        """``U_lambda`` of points on these lines; +inf where it is no number."""
        U = point.energy(self._lam[rows])
        bad = U.isnan() | U.isneginf()
        if bool(bad.any()):
            self.bad[rows[bad]] = True
            self.bad_x = self.bad_x.index_copy(0, rows[bad], point.x[bad])
        return U.masked_fill(bad, torch.inf)


def _drawn(
    line: _Line, height: torch.Tensor, left: torch.Tensor, right: torch.Tensor, stream: Stream
) -> tuple[PathPoint, torch.Tensor]:
    """A point of each slice, and whether the first draw was one [n]."""
    moved = line.start
    rows = torch.arange(len(left), device=left.device)
    first = torch.zeros_like(left)
    for draw in range(_MOST_DRAWS):
        u = line.uniform(stream)[rows]
        distance = left[rows] + u * (right[rows] - left[rows])
        found = line.at(rows, distance)
        inside = line.energy_of(rows, found) <= height[rows]
        kept = rows[inside]
        moved = PathPoint(
            *(
                field.index_copy(0, kept, new[inside])
                for field, new in zip(moved, found, strict=True)
            )
        )
        if draw == 0:
            first = inside.to(left.dtype)
        out = ~inside
        rows, distance = rows[out], distance[out]
        if not len(rows):
            break
        left[rows] = torch.where(distance < 0, distance, left[rows])
        right[rows] = torch.where(distance < 0, right[rows], distance)
    return moved, first
