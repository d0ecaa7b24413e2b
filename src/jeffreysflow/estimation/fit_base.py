"""A base fitted to samples: every part to what it is of, as large as held-out samples gain by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.fit_by_gradients import by_gradients
from jeffreysflow.estimation.fit_circles import coupled_pairs, fit_circles
from jeffreysflow.estimation.fit_lines import fit_lines
from jeffreysflow.estimation.fit_means import fit_means
from jeffreysflow.estimation.spread_rows import spread_rows
from jeffreysflow.potentials.fitted_base import FittedBase, angles_of, on_the_line
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["fit_base", "fit_gaussians"]

_ROWS = 60_000
_GRADIENTS = 20_000


def fit_base(
    training: torch.Tensor,
    held_out: torch.Tensor,
    domain: Domain,
    couplings: Sequence[tuple[int, int]] | None,
    components: int,
    circle_components: int,
    stream: Callable[[str], Stream],
) -> FittedBase:
    """The base that gives samples the largest density, by expectation and maximisation.

    Parameters
    ----------
    training, held_out : samples [n, d] and, of other origin, [m, d]; at most 60,000 of each, evenly
        spread, are looked at.
    couplings : pairs of coordinates on circles, from 0, that have a density together; None for
        those that know most of each other.
    components, circle_components : components of each mixture at most.

    Raises
    ------
    UserError : a coordinate is the same in all samples, or its variance is beyond double precision.
    """
    some = _some(training, held_out)
    circular = domain.periodic.nonzero()[:, 0].tolist()
    line = (~domain.periodic).nonzero()[:, 0].tolist()
    _check_spread(some[0], range(domain.dimension))
    angles = [angles_of(x[:, circular], [domain.periods[i] for i in circular]) for x in some]
    if couplings is None and circular:
        couplings = [(circular[i], circular[j]) for i, j in coupled_pairs(angles[0])]
    groups = [list(pair) for pair in couplings or ()]
    paired = {i for group in groups for i in group}
    groups += [[i] for i in circular if i not in paired]
    within = [[circular.index(i) for i in group] for group in groups]
    circles = []
    for group, columns in zip(groups, within, strict=True):
        purpose = "circles " + " ".join(map(str, group))
        parts = _two([each[:, columns] for each in angles])
        circles.append(fit_circles(*parts, circle_components, stream(purpose)))
    lines = means = None
    if line:
        points = [on_the_line(x, domain)[0][:, line] for x in some]
        _check_spread(points[0], line)
        if circular:
            means = fit_means(*_two(angles), *_two(points), within)
        if means is not None:
            points = [y - means(a) for y, a in zip(points, angles, strict=True)]
        lines = fit_lines(*_two(points), components, stream("lines"))
    return FittedBase(domain, lines, groups, circles, means)


def fit_gaussians(
    training: torch.Tensor,
    held_out: torch.Tensor,
    components: int,
    stream: Stream,
    gradient: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> LineMixture:
    """Of up to so many ``components``, for samples [n, d] and, of other origin, [m, d]; with the
    ``gradient`` of the energy, [n, d] -> [n, d], as ``by_gradients``, asked at 20,000 at most.

    Raises
    ------
    UserError : as ``fit_base``.
    """
    some = _some(training, held_out)
    _check_spread(some[0], range(training.shape[1]))
    mixture = fit_lines(*_two(some), components, stream)
    if gradient is None:
        return mixture
    x = some[0][spread_rows(len(some[0]), _GRADIENTS)]
    return by_gradients(mixture, x, gradient(x), some[1])


def _some(*samples: torch.Tensor) -> list[torch.Tensor]:
    return [x[spread_rows(len(x), _ROWS).to(x.device)].double().cpu() for x in samples]


def _check_spread(x: torch.Tensor, coordinates: Sequence[int]) -> None:
    for column, i in zip(x.unbind(dim=1), coordinates, strict=True):
        low, high = float(column.min()), float(column.max())
        if low == high:
            samples = f"all {len(x)} samples" if len(x) > 1 else "the only sample"
            raise UserError(
                f"base: x{i + 1} is {low:.6g} in {samples} that it is fitted to, and what never "
                "changes has no density; use more samples, or a base of base.mean and base.sd"
            )
        if not 0 < float(column.var()) < math.inf:
            raise UserError(
                f"base: x{i + 1} of the samples that it is fitted to reaches from {low:.6g} to "
                f"{high:.6g}, of which there is no variance in double precision"
            )


def _two(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    training, held_out = parts
    return training, held_out
