"""A user's own velocity: attention, pairs of particles, and what it takes in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import jvp

from jeffreysflow.config import Project, resolve_experiment
from jeffreysflow.config.memory import memory_mb
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.integrated import IntegratedFlow
from jeffreysflow.flows.maps import torch as own_map
from jeffreysflow.flows.working_memory import numbers_a_row
from jeffreysflow.potentials import Base
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from stage_cases import run_to_estimates
from velocity_cases import own_flow, wells

ROOT = Path(__file__).parents[1]
ATTENTION = """
import torch
from torch import nn
class V(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(2, 4), nn.Linear(4, 1)
        self.layer = {layer}
    def forward(self, x, t):
        code = self.up(torch.stack([x, t.expand_as(x)], 2))
        {mixed}
        return 0.3 * torch.tanh(self.down(mixed)[:, :, 0])
def velocity():
    return V()
"""


@pytest.mark.parametrize(
    ("layer", "mixed"),
    [
        (
            "nn.MultiheadAttention(4, 2, batch_first=True)",
            "mixed = self.layer(code, code, code, need_weights=False)[0]",
        ),
        (
            "nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)",
            "mixed = self.layer(code)",
        ),
        (
            "nn.Identity()",
            "mixed = nn.functional.scaled_dot_product_attention(code, code, code)",
        ),
    ],
)
def test_attention_has_exact_weights(tmp_path: Path, layer: str, mixed: str) -> None:
    file = tmp_path / "attention.py"
    file.write_text(ATTENTION.replace("{layer}", layer).replace("{mixed}", mixed))
    fast = torch.backends.mha.get_fastpath_enabled()
    flash = torch.backends.cuda.flash_sdp_enabled()
    flow = own_flow(tmp_path, "x", file=str(file), weights=None, steps=2, integrator="heun")
    z = Stream(3).normal(3, 2)
    log_det = flow.weighted(z, z[:, :0])[1]
    for row, found in zip(z, log_det, strict=True):
        J = torch.stack([(_pushed(flow, row + h) - _pushed(flow, row - h)) / 2e-5 for h in NEAR])
        assert float(torch.linalg.slogdet(J).logabsdet) == pytest.approx(float(found), abs=1e-6)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.backends.cuda.flash_sdp_enabled() == flash


NEAR = 1e-5 * torch.eye(2, dtype=torch.float64)


def _pushed(flow: Any, z: torch.Tensor) -> torch.Tensor:
    x: torch.Tensor = flow.weighted(z[None], z[None, :0])[0][0]
    return x


APART = "r = x.reshape(len(x), -1, 1); o = r[:, :, None] - r[:, None]; "


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            APART + "return -x * o.square().sum(3).sqrt().sum(2)",
            "derivative that is not finite at t = 0.5, of coordinate 1 of 2, x = .*from itself",
        ),
        (
            "x.requires_grad_(); return -torch.autograd.grad(x.square().sum(), x)[0]",
            "cannot be differentiated forwards: torch.autograd.grad .* allowed: torch.func.grad",
        ),
        (
            "return -torch.autograd.grad(x.square().sum(), x)[0]",
            "raised at t = 0.5, .*allowed: torch.func.grad",
        ),
        ("self.a(torch.ones(len(x), 2)) + x", "raised at t = 0.5.*made in the type of x"),
        (
            APART + "return -x * torch.cdist(r, r + 1).sum(2)",
            "forwards: torch.cdist has no forward derivative .*sum of their squares",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(tmp_path: Path, what: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        own_flow(tmp_path, what)
    assert "rounded to float32" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "refused"),
    [("t, x", True), ("time, positions", True), ("x, t", False), ("t, features", False)],
)
def test_time_comes_second(tmp_path: Path, names: str, refused: bool) -> None:
    first, second = names.split(", ")
    file = tmp_path / "named.py"
    file.write_text(
        "import torch\nclass V(torch.nn.Module):\n"
        f"    def forward(self, {names}):\n        return -0.5 * {first} * {second}\n"
        "def velocity():\n    return V()\n"
    )
    about: dict[str, Any] = {"file": str(file), "weights": None, "steps": 2}
    if not refused:
        own_flow(tmp_path, "x", **about)
        return
    with pytest.raises(UserError, match=rf"takes \({first}, {second}\), time first; allowed: v\(x"):
        own_flow(tmp_path, "x", **about)


PAIRS = (
    "r = x.reshape(len(x), -1, 3); o = r[:, :, None] - r[:, None]; "
    "w = {width} * torch.exp(-o.square().sum(3, keepdim=True)); "
    "return ((w * o).sum(2) * t[:, :, None]{also}).reshape(x.shape)"
)


def pairs(folder: Path, width: str = "0.5", also: str = "", n: int = 4, **how: Any) -> Any:
    base = Base(Domain.euclidean(3 * n))
    return own_flow(folder, PAIRS.format(width=width, also=also), base=base, **how)


def test_without_the_centroid_weights_vary_less_and_are_as_right(tmp_path: Path) -> None:
    """Directions in 3n - 3 coordinates; with those of all the centroid's part is noise."""
    swelling = "0.05", " + 0.5 * (r - r.mean(dim=1, keepdim=True))"
    how = {"steps": 4, "integrator": "heun"}
    z = Base(Domain.euclidean(12)).sample(40, Stream(3))
    exact = pairs(tmp_path, *swelling, jacobian="brute_force", **how).weighted(z, z[:, :0])[1]

    def off(space: int | None, counted: int | None = None) -> torch.Tensor:
        """Differences [40, n] of log weights from exact ones, of directions in ``space``, as many
        of which are ``counted``.
        """
        flow = pairs(tmp_path, *swelling, jacobian="stepwise", space=space, **how)
        assert isinstance(flow, IntegratedFlow)
        discrete = flow._discrete()
        if counted:
            discrete.degrees = lambda d: counted  # type: ignore[method-assign]
        states = discrete.forward(z)
        normals = [Stream(5, k).normal(len(z), flow.normals) for k in range(40)]
        drawn = [flow.jacobian.factors(discrete, states, each) for each in normals]
        return torch.stack(drawn) - exact

    def is_unbiased(difference: torch.Tensor) -> bool:
        ratio = difference.exp().mean(dim=0)
        return abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / len(z) ** 0.5

    of_all, without = off(None), off(3)
    assert is_unbiased(of_all)
    assert is_unbiased(without)
    assert float(without.var(dim=0).mean()) < 0.5 * float(of_all.var(dim=0).mean())
    # the centroid's directions drawn, and not counted
    assert not is_unbiased(off(None, counted=9))


@pytest.mark.parametrize(
    ("width", "also", "says"),
    [
        ("0.5", " - 0.1 * r", "moves the centroid of particles in 3 dimensions"),
        ("0.5 * torch.tanh(r.mean(dim=(1, 2)))[:, None, None, None]", "", "depends on the centr"),
        ("0.5", " + 0.1", "moves the centroid"),
    ],
)
def test_a_centroid_that_plays_a_part_is_refused(
    tmp_path: Path, width: str, also: str, says: str
) -> None:
    pairs(tmp_path, width, also)
    with pytest.raises(UserError, match=says):
        pairs(tmp_path, width, also, space=3)


def test_a_space_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="space: coordinates must be those of at least 2 particles"):
        own_flow(tmp_path, "-x", space=2)


def test_the_experiment_that_is_documented_runs(tmp_path: Path) -> None:
    """As it stands on the page, with a quarter of the mass in the well of a quarter."""
    text = (ROOT / "docs" / "continuous_flows.md").read_text()
    experiment_text, velocity_text = (
        next(part for part in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) if what in part)
        for kind, what in (("yaml", "A velocity of my own"), ("python", "def velocity()"))
    )
    (tmp_path / "my_velocity.py").write_text(velocity_text)
    file = tmp_path / "my_flow.yaml"
    file.write_text(experiment_text)
    experiment = resolve_experiment(file, Project(experiments=[str(file)]))
    layout = Layout(tmp_path / "results", experiment.name)
    layout.folder.mkdir(parents=True)
    layout.config.write_text(experiment.model_dump_json())
    run_to_estimates(layout, experiment, 1, "mine", "own")
    rows = {row.quantity: row for row in read_table(layout.flow("own").estimates, EstimateRow)}
    left, log_z = rows["observable:x1 < 0"], rows["log_z"]
    assert left.stderr is not None
    assert abs(left.value - 0.25) < 4 * left.stderr < 0.15
    assert log_z.stderr is not None
    assert abs(log_z.value) < 4 * log_z.stderr
    assert rows["trusted"].value == 1


# --- memory


def test_numbers_in_memory_are_those_of_tensors_that_are_in_use() -> None:
    """Of five tensors made one after the other two at a time, of each with its tangent."""
    x, kept = Stream(1).normal(16, 10), torch.zeros(1000)

    def chain(y: torch.Tensor) -> torch.Tensor:
        for _ in range(5):
            y = y.sin() + kept[0]
        return y

    one = numbers_a_row(lambda n: chain(x[:n]), 16)
    along = numbers_a_row(lambda n: jvp(chain, (x[:n],), (x[:n],)), 16)
    assert 10 <= one <= 30
    assert one < along <= 80


@pytest.mark.parametrize("jacobian", ["stepwise", "brute_force"])
def test_a_wide_velocity_sees_as_many_samples_as_fit(
    tmp_path: Path, jacobian: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each call, whatever is asked for, and with the same weights."""
    many = "o.square().sum(3, keepdim=True) * torch.ones_like(x[0, :1]).expand(2000)"
    wide = f"0.5 * torch.exp(-({many})).mean(3, keepdim=True)"
    flow = pairs(tmp_path, wide, jacobian=jacobian, steps=2, integrator="heun")
    # of 16 pairs two thousand numbers and their tangents
    assert 2 * 16 * 2000 < flow.numbers < 8 * 16 * 2000
    assert type(flow)(**flow.settings).numbers == flow.numbers
    rows = flow.rows_at_once
    assert rows * flow.numbers <= 25_000_000
    z = Base(Domain.euclidean(12)).sample(3, Stream(3))
    normals = Stream(4).normal(3, flow.normals)
    together = flow.weighted(z, normals)
    seen, call = [], own_map.called

    def watched(file: str, module: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return call(file, module, x, t)

    monkeypatch.setattr(type(flow), "rows_at_once", 2)
    monkeypatch.setattr(own_map, "called", watched)
    for one, other in zip(flow.weighted(z, normals), together, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    assert set(seen) == {1, 2}


def test_what_a_rule_asks_for_knows_pairs_and_bounds_a_velocity_of_the_user(tmp_path: Path) -> None:
    def asked(network: dict[str, Any], batch: int = 80) -> int:
        _, experiment = wells(tmp_path, network, {"batch": batch, "samples": 32 * batch})
        return memory_mb(experiment, "generate", "f")

    own = {"kind": "torch", "file": "not_run.py"}
    narrow = {"kind": "continuous", "steps": 2}
    assert asked(own) >= asked(narrow) + 1.5 * 150
    wide = {**narrow, "velocity": "particles", "parameters": {"dimension": 1, "hidden": 4000}}
    assert asked(wide, 1000) > asked(narrow, 1000) + 300
