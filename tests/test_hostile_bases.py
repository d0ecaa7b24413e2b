"""Bases fitted to samples that no density has, or in an order that hides most of them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation import fit_base as module
from jeffreysflow.estimation.fit_base import fit_base
from jeffreysflow.estimation.spread_rows import so_many_rows, spread_rows
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.stages import base as base_stage
from jeffreysflow.stages import gather
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream
from sample_cases import BODY, drawn, experiment_of, write_files

FITTED = BODY.replace("references:", "base: {{kind: fitted, sd: 2}}\nreferences:", 1)
LINE, BOX, TORUS = Domain.euclidean(2), Domain.box(2), Domain.torus(2)


def fitted(x: torch.Tensor, domain: Domain) -> FittedBase:
    return fit_base(x, x, domain, None, 4, 4, lambda purpose: Stream(1, purpose))


def numbers(n: int = 400) -> torch.Tensor:
    return Stream(1, "numbers").uniform(n, 2)


@pytest.mark.parametrize("domain", [LINE, BOX, TORUS], ids=["line", "walls", "circle"])
def test_what_never_changes_has_no_density(domain: Domain) -> None:
    x = numbers()
    # of most numbers the mean is not the number itself
    x[:, 1] = 0.3
    with pytest.raises(UserError, match=r"base: x2 is 0\.3 in all 400 samples"):
        fitted(x, domain)
    with pytest.raises(UserError, match=r"x1 is .* in the only sample"):
        fitted(x[:1], domain)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_numbers_without_a_variance_are_one_line(scale: float) -> None:
    with pytest.raises(UserError, match="no variance in double precision"):
        fitted(scale * numbers(), LINE)


def test_too_few_frames_are_one_line_of_the_stage(tmp_path: Path) -> None:
    write_files(tmp_path)
    for x in (drawn(300)[:2, :1], drawn(300) * [1, 0]):
        np.savez(tmp_path / "x.npz", x=x)
        files = "      - {file: x.npz, lam: 1}"
        experiment = experiment_of(tmp_path, files=files, body=FITTED)
        layout = Layout(tmp_path / "results", experiment.name)
        gather.run(layout, experiment, "r")
        with pytest.raises(UserError, match="what never changes has no density"):
            base_stage.run(layout, experiment, "last")


@pytest.mark.parametrize("case", ["few", "collinear", "clusters", "seam"])
def test_strange_samples_have_a_base_all_the_same(case: str) -> None:
    x, domain = numbers() - 0.5, LINE
    if case == "few":
        x, domain = torch.cat([x[:5]] * 4, dim=1), Domain.euclidean(8)
    if case == "collinear":
        x[:, 1] = 2 * x[:, 0]
    if case == "clusters":
        x[::2] += 50
    if case == "seam":
        x, domain = torch.remainder(0.2 * x, 2 * math.pi) - math.pi, TORUS
    base = fitted(x, domain)
    drawn_again = base.sample(2000, Stream(2, "drawn"))
    assert bool(base.energy(x).isfinite().all())
    # nowhere but where the samples are
    near = (drawn_again[:, None] - x).abs()
    if case == "seam":
        near = torch.minimum(near, 2 * math.pi - near)
    scale = 0.1 if case == "seam" else 1.0
    assert float((near.amax(dim=2).amin(dim=1) < 2 * scale).double().mean()) > 0.98


@pytest.mark.parametrize("walkers", [2, 3, 4, 8, 32])
def test_few_of_many_rows_are_those_of_all_walkers(walkers: int) -> None:
    n, most = 1000 * walkers, 1000
    rows = spread_rows(n, most)
    assert len(rows) == len(rows.unique()) == most
    assert 0 <= int(rows.min()) < int(rows.max()) < n
    counts = torch.bincount(rows % walkers, minlength=walkers) * walkers / most
    assert float((counts - 1).abs().max()) < 0.15
    # and from the whole run
    parts = torch.bincount(rows * 10 // n, minlength=10)
    assert int(parts.min()) >= most // 10 - 1
    # the control: every k-th row is that of one walker
    assert len((torch.arange(n)[::walkers] % walkers).unique()) == 1
    assert torch.equal(spread_rows(7, 7), torch.arange(7))
    assert len(spread_rows(0, 7)) == 0


@pytest.mark.parametrize(
    ("n", "number"), [(64 * 1200, 201), (64 * 1200, 76_799), (7, 7), (100, 70)]
)
def test_as_many_rows_as_asked_for_are_of_all_walkers(n: int, number: int) -> None:
    rows = so_many_rows(n, number)
    assert len(rows) == number
    assert bool((rows.diff() > 0).all())
    assert 0 <= int(rows[0]) <= int(rows[-1]) < n
    if number == 201:
        shown = torch.bincount(rows % 64, minlength=64)
        assert int(shown.max()) <= 8
        assert int((shown > 0).sum()) >= 48
        # the control: at equal distances these were two of 64 walkers
        even = torch.linspace(0, n - 1, number).round().long() % 64
        assert even.unique().tolist() == [0, 63]


def test_the_base_is_fitted_to_all_walkers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 500)
    stream = Stream(3, "walkers")
    x = stream.normal(500, 4, 1)
    # the last of four walkers is in another well
    x[:, 3] += 30
    base = fitted(x.flatten(0, 1), Domain.euclidean(1))
    assert base.lines is not None
    right = base.lines.weights[base.lines.means[:, 0] > 15].sum()
    assert float(right) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("draws", [1, 2])
def test_a_base_is_not_fitted_to_a_single_sample(tmp_path: Path, draws: int) -> None:
    write_files(tmp_path)
    np.savez(tmp_path / "few.npz", x=drawn(300, (draws, 1)))
    few = "references:\n  few:\n    kind: samples\n    files: [{{file: few.npz, lam: 1}}]"
    body = FITTED.replace("kind: fitted,", "kind: fitted, reference: few,").replace(
        "references:\n", f"{few}\n", 1
    )
    if draws == 1:
        with pytest.raises(UserError, match=r"base\.reference: 'few' has one sample"):
            experiment_of(tmp_path, body=body)
        return
    assert experiment_of(tmp_path, body=body).base_reference == "few"
