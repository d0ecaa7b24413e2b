"""Angles of imported samples: unwrapped ones are taken, degrees in the place of radians are not."""

import math

import pytest
import torch

from jeffreysflow.analysis.imported_angles import check_angles
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.streams import Stream

DOMAIN = Domain((None, (-math.pi, math.pi)))


def path(draws: int = 4000, walkers: int = 4, step: float = 0.7) -> torch.Tensor:
    """A diffusion [draw, trajectory, 2] that goes round many times, unwrapped."""
    steps = step * Stream(1, "angles").normal(draws, walkers, 2)
    steps[0] = torch.remainder(steps[0], 2.0)
    return steps.cumsum(dim=0)


def test_unwrapped_radians_are_taken_however_far_they_went() -> None:
    x = path()
    assert float(x[..., 1].abs().max()) > 6 * math.pi
    check_angles(x, DOMAIN, "here")
    turned = DOMAIN.turned(x)
    assert torch.equal(turned[..., 0], x[..., 0])
    assert -math.pi <= float(turned[..., 1].min()) <= float(turned[..., 1].max()) < math.pi
    torch.testing.assert_close(turned[..., 1].cos(), x[..., 1].cos())


@pytest.mark.parametrize("how", ["wrapped", "slow", "unwrapped", "shuffled"])
def test_degrees_are_refused(how: str) -> None:
    x = path()
    degrees = torch.rad2deg(x[..., 1] + 1.0)
    if how == "wrapped":
        degrees = torch.remainder(degrees + 180, 360) - 180
    if how == "slow":
        # frames so close in time that an angle in degrees, too, moves by less than pi
        degrees = torch.rad2deg(path(step=0.01)[..., 1] + 1.0)
    if how == "shuffled":
        # radians that nobody can tell from degrees
        degrees = x.flip(0)[..., 1]
    with pytest.raises(UserError, match=r"here: x2 is periodic .* degrees in the place of"):
        check_angles(torch.stack([x[..., 0], degrees], dim=-1), DOMAIN, "here")
