"""How the bias falls with the number of samples, and what Sobol points gain."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.convergence import (
    bias_by_size,
    block_size,
    convergence_slope,
    noise_floor,
)
from jeffreysflow.estimation.jackknife import jackknife_error
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

SIZES = [4**4, 4**5, 4**6, 4**7]


def blocks_of(values: torch.Tensor) -> list[WeightedSums]:
    block = block_size(len(values), SIZES)
    return [WeightedSums.of(torch.zeros(len(v)), v) for v in values.split(block)]


def test_slope_of_independent_samples() -> None:
    values = Stream(1, "iid").normal(4**9, 5)
    exact = torch.tensor([0.0, 0.0, 0.0, 0.0, math.nan])
    blocks = blocks_of(values + torch.tensor([0, 0, 0, 0, 7.0]))
    rows = bias_by_size(blocks, SIZES, exact)
    assert [row.blocks for row in rows] == [4**5, 4**4, 4**3, 4**2]
    for row in rows:
        floor = noise_floor(torch.ones(4), row.size)
        assert abs(row.rms - floor) < 4 * row.rms_error
    slope, error = convergence_slope(rows)
    assert error < 0.05
    assert abs(slope + 0.5) < 4 * error
    assert rows[0].first == pytest.approx(float(values[: 4**4, :4].mean(dim=0).norm()))
    # negative control: a systematic error keeps the bias from falling
    flat = bias_by_size(blocks, SIZES, exact + 0.05)
    assert convergence_slope(flat)[0] > -0.5 + 4 * error


def test_columns_behind_the_observables_have_no_bias_here() -> None:
    """Bins of profiles are averaged beside the observables."""
    values = Stream(1, "iid").normal(4**6, 3)
    exact = torch.zeros(2)
    some = bias_by_size(blocks_of(values), SIZES[:2], exact)
    assert some == bias_by_size(blocks_of(values[:, :2]), SIZES[:2], exact)


def test_no_bias_has_no_error() -> None:
    blocks = [WeightedSums.of(torch.zeros(4), torch.ones(4, 1)) for _ in range(8)]
    (row,) = bias_by_size(blocks, [8], torch.ones(1).double())
    assert (row.rms, math.isnan(row.rms_error)) == (0.0, True)


def test_block_sizes() -> None:
    assert block_size(320_000, []) == 5000
    assert block_size(4**11, [4**9, 4**8]) == 4**8
    assert block_size(4**11, [4**8], sequence=4**7) == 4**7
    with pytest.raises(UserError, match="multiples of the smallest, 100, found 250"):
        block_size(1000, [100, 250])
    with pytest.raises(UserError, match=r"of a Sobol sequence, 1024, .* found 1000"):
        block_size(4096, [1000], sequence=1024)


def test_sobol_points_are_unbiased_and_better_than_independent_ones() -> None:
    """32 scramblings of 2^10 points of a smooth function on R x circle."""
    base = Base(Domain((None, (-math.pi, math.pi))), mean=0.5, sd=2.0)
    exact = math.exp(-2) * math.sin(0.5) + 0.5

    def smooth(x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0].sin() + x[:, 1].cos().square())[:, None]

    blocks = []
    for r in range(32):
        x = torch.cat(list(sobol_base_points(base, 2**10, 300, 5, "flow", r)))
        assert x.shape == (2**10, 2)
        blocks.append(WeightedSums.of(torch.zeros(2**10), smooth(x)))
    whole = combined(blocks)
    error = float(jackknife_error(blocks, lambda sums: sums.means))
    assert abs(float(whole.means) - exact) < 4 * error
    gain = float(whole.errors / error) ** 2
    assert gain > 20
    # negative control: independent points gain nothing
    iid = [
        WeightedSums.of(torch.zeros(2**10), smooth(base.sample(2**10, Stream(6, r))))
        for r in range(32)
    ]
    ratio = float(combined(iid).errors / jackknife_error(iid, lambda sums: sums.means))
    assert ratio**2 < 3


def test_sobol_points_do_not_depend_on_the_batch_and_differ_by_address() -> None:
    base = Base(Domain.euclidean(2))
    a, b, c = (
        torch.cat(list(sobol_base_points(base, 256, batch, 1, "x", r)))
        for batch, r in ((256, 0), (37, 0), (256, 1))
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert bool(a.isfinite().all())
