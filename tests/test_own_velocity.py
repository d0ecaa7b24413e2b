"""A user's own velocity: what is wrong with it is said in one line, before any work."""

from __future__ import annotations

import importlib
import os
import py_compile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jeffreysflow.config import Experiment
from jeffreysflow.config.integration import with_velocities
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.launch.flow_settings import check_flow
from jeffreysflow.potentials import Base
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.streams import Stream
from jeffreysflow.userfiles.modules import module_hashes
from jeffreysflow.userfiles.sources import source_hashes
from velocity_cases import Own, own_file, own_flow, wells

NAN_AT_START = "self.a(x) * t / t"
COUNTING = """
        self.calls = getattr(self, "calls", 0) + 1
        return self.a(x) * (1.0 if self.calls < 60 else 1.1)"""


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("self.a(x).float()", "of float64 for x of that shape, found .* of float32"),
        ("self.a(x) + 0j", "of float64 for x of that shape, found .* of complex128"),
        ("(self.a(x), t)", "for x of that shape, found a tuple"),
        ("torch.cat([self.a(x), t], 1)", r"found \[16, 3\]"),
        ("self.a(x) * float(t)", "raised at t = 0.5"),
        ("self.a(x) * t[:, 0]", "raised at t = 0.5"),
        ("raise SystemExit(0)", "raised at t = 0.5.*SystemExit"),
        ("self.a(x.detach())", "other derivatives by torch than by differences"),
        ("torch.sin(self.a(x).float()).double()", "nothing that is detached, or rounded"),
        ("torch.nn.functional.dropout(self.a(x), 0.5)", "is another one each time"),
        ("x -= 1.0; return self.a(x)", "changes the x that it is given"),
        ("t *= 2; return self.a(x) * t", "raised at t = 0.5"),
        (
            "return 2 * self.a(x) if bool((x > 9).any()) else self.a(x) * (1 + x.sum().item())",
            "depends on those beside it|cannot be differentiated forwards",
        ),
        ("self.a(x) * (1 if bool((x > 9).any()) else x.norm(dim=1)[:, None])", ""),
        (NAN_AT_START, r"\(t = 0\): the velocity of 16 of 16 samples is not finite"),
        ("self.a(x) / (1 - t)", "t = 0.9.*is not finite"),
        ("assert float(t.max()) < 0.9; return self.a(x)", "raised at t = 0.9"),
        ("500 * torch.sin(50 * x)", "does not converge|is not one to one"),
        ("(self.a(x) ** 2).sum(0) * self.a(x)", "depends on those beside it"),
        ("torch.where(t > 0.6, torch.sin(x.detach()), -0.8 * x)", "is detached"),
        ("-0.8 * x + x * (t > 0.6) * x.mean()", "depends on those beside it"),
        ("x * (1 + 0.1 * (len(x) > 12))", "depends on those beside it"),
        (COUNTING, "drawn or counted in it"),
    ],
)
def test_what_is_no_velocity(tmp_path: Path, what: str, says: str) -> None:
    if not says:
        own_flow(tmp_path, what)
        return
    with pytest.raises(UserError, match=says) as caught:
        own_flow(tmp_path, what)
    assert "my_velocity.py" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "what",
    [
        "torch.nn.Dropout(0.5).eval()(self.a(x))",
        "torch.func.grad(lambda y: torch.sin(self.a(y)).square().sum())(x)",
        "torch.relu(self.a(x)) * t",
        "self.a(x) * (x.new_ones(len(x), 1) + t)",
        "torch.relu(x @ torch.linspace(-1, 1, 4000).double().reshape(2, 2000)) @ "
        "torch.full((2000, 2), 1e-3).double()",
    ],
)
def test_what_is_one(tmp_path: Path, what: str) -> None:
    flow = own_flow(tmp_path, what, jacobian="stepwise")
    z = Stream(3).normal(4, 2)
    assert bool(flow.weighted(z, Stream(4).normal(4, flow.normals))[1].isfinite().all())


@pytest.mark.parametrize(
    ("mean", "sd", "what"),
    [
        (
            [1000.0, 0.0],
            [1.0, 0.01],
            "torch.stack([(x[:, 0] - 1000).tanh(), 0.01 * (200 * x[:, 1]).sin()], 1)",
        ),
        ([0.0, 0.0], [1e-6, 1e-6], "1e-6 * (x / 1e-6).sin()"),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_coordinates_have_scales_of_their_own(
    tmp_path: Path, mean: list[float], sd: list[float], what: str, detached: bool
) -> None:
    base = Base(Domain.euclidean(2), mean, sd)
    if not detached:
        own_flow(tmp_path, what, base=base)
        return
    with pytest.raises(UserError, match="other derivatives by torch"):
        own_flow(tmp_path, f"x = x.detach(); return {what}", base=base)


def test_times_end_at_1(tmp_path: Path) -> None:
    """Of 93 steps the sum of the last two numbers is above it."""
    own_flow(
        tmp_path, "assert 0 <= float(t.min()) <= float(t.max()) <= 1; return self.a(x)", steps=93
    )


@pytest.mark.parametrize("what", ["0.5 * torch.sign(x)", "torch.where(x > 0, 1 - x, -1 - x) * 0.5"])
def test_a_velocity_that_jumps_is_not_one_to_one(tmp_path: Path, what: str) -> None:
    """Its Jacobian is regular everywhere, and what it never reaches is missing."""
    y = Stream(5).normal(256, 2)
    own_flow(tmp_path, "torch.tanh(x) * t").refuse_folds(y)
    with pytest.raises(UserError, match=r"not one to one: \d+ of 256 samples of the reference"):
        own_flow(tmp_path, what).refuse_folds(y)


def test_weights_have_all_their_digits(tmp_path: Path) -> None:
    """A module is made in float32; float64 weights are not rounded on their way into it."""
    precise = {"a.weight": torch.eye(2).double() / 3, "a.bias": torch.zeros(2).double()}
    flow = own_flow(tmp_path, "self.a(x)", precise)
    assert torch.equal(flow.state_dict()["module.a.weight"], precise["a.weight"])


def test_weights_that_are_no_safetensors(tmp_path: Path) -> None:
    pickled = tmp_path / "my.pt"
    torch.save(Own().state_dict(), pickled)
    with pytest.raises(UserError, match=r"my.pt: not safetensors .*save_file"):
        own_flow(tmp_path, "self.a(x)", file=str(own_file(tmp_path, "x")), weights=str(pickled))
    for weights, says in (
        ({"a.weight": torch.ones(2, 2)}, r"Missing key\(s\).*a.bias"),
        ({**Own().state_dict(), "more": torch.ones(1)}, "Unexpected key"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            own_flow(tmp_path, "self.a(x)", weights)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("v = 1", "'velocity' must be a function that makes a torch module, found nothing"),
        ("velocity = 3", "found 3"),
        ("def velocity(width): pass", "missing 1 required positional argument"),
        ("def velocity(): return 3", "must make a torch module, found 3"),
        ("def velocity(): raise SystemExit(0)", "raised SystemExit"),
        ("import torch\ndef velocity(): return torch.nn.LazyLinear(2)", "a lazy module"),
        (
            "import torch\nclass V(torch.nn.Module):\n    def train(self, mode=True):\n"
            "        raise KeyError(3)\ndef velocity(): return V()",
            "cannot be made float64: KeyError",
        ),
        ("def velocity(:", "import failed: SyntaxError"),
    ],
)
def test_files_without_a_velocity(tmp_path: Path, code: str, says: str) -> None:
    file = tmp_path / "bare.py"
    file.write_text(code)
    with pytest.raises(UserError, match=says):
        own_flow(tmp_path, "self.a(x)", file=str(file), weights=None)


def test_no_circles_and_no_walls(tmp_path: Path) -> None:
    """Where space is a ring, two images of a sample may be one point, and weights mean nothing."""
    for domain in (
        Domain((None, (0.0, 1.0))),
        Domain((None, None), (None, (0.0, 1.0))),
    ):
        with pytest.raises(UserError, match="periodic or lies between walls"):
            own_flow(tmp_path, "self.a(x)", domain=domain)


def test_random_parameters_are_the_same_again(tmp_path: Path) -> None:
    any_values, file = {"a": torch.ones(1)}, str(own_file(tmp_path, "self.a(x)"))
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    one, two = (
        own_flow(tmp_path, "self.a(x)", any_values, file=file, weights=None) for _ in range(2)
    )
    assert torch.equal(one.state_dict()["module.a.weight"], two.state_dict()["module.a.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


DRAWN = """
import {what}
import torch
OFF = {drawn}
class V(torch.nn.Module):
    def forward(self, x, t):
        return -x + float(OFF)
def velocity():
    return V()
"""


@pytest.mark.parametrize(
    ("what", "drawn", "same"),
    [
        ("torch", "torch.randn(1)", True),
        ("random", "random.random()", False),
        ("numpy", "numpy.random.rand()", True),
        ("numpy", "numpy.random.default_rng().random()", False),
    ],
)
def test_what_is_drawn_when_it_is_imported_is_the_same_again_or_refused(
    tmp_path: Path, what: str, drawn: str, same: bool
) -> None:
    """Each stage imports it anew, and all of them have to run one flow."""
    file = tmp_path / "drawn.py"
    file.write_text(DRAWN.format(what=what, drawn=drawn))
    state = torch.random.get_rng_state()
    if not same:
        with pytest.raises(UserError, match="is another one each time it is made"):
            own_flow(tmp_path, "x", {"a": torch.ones(1)}, file=str(file), weights=None)
        return
    x = torch.zeros(1, 2).double()
    one, two = (
        own_flow(tmp_path, "x", {"a": torch.ones(1)}, file=str(file), weights=None)
        for _ in range(2)
    )
    t = torch.zeros(1, 1).double()
    assert torch.equal(one.velocity(x, t), two.velocity(x, t))  # type: ignore[operator]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_buffer_that_the_first_call_makes_is_refused(tmp_path: Path) -> None:
    """What is stored of the flow would not fit a fresh module."""
    cache = "self.register_buffer('cache', x[:1].clone(), persistent={})\n        return self.a(x)"
    with pytest.raises(UserError, match=r"keeps 'cache' from its first call on"):
        own_flow(tmp_path, cache.format(True))
    own_flow(tmp_path, cache.format(False))


def test_all_files_that_it_is_made_of_are_known(tmp_path: Path) -> None:
    """Modules beside it and data that it opens: a change of any of them is another flow."""
    (tmp_path / "mine").mkdir()
    folder = tmp_path / "mine"
    (folder / "my_net.py").write_text("SCALE = 2.0\n")
    (folder / "width.txt").write_text("2")
    file = folder / "my_velocity.py"
    file.write_text(
        "import torch\nfrom pathlib import Path\nimport my_net\n"
        "def velocity():\n"
        "    n = int((Path(__file__).parent / 'width.txt').open().read())\n"
        "    return Only(n)\n"
        "class Only(torch.nn.Module):\n"
        "    def __init__(self, n):\n        super().__init__(); self.n = n\n"
        "    def forward(self, x, t):\n        return x * t / self.n * my_net.SCALE\n"
    )
    flows = {"f": {"network": {"kind": "torch", "file": str(file)}}}

    def digests() -> dict[str, str]:
        found = with_velocities(flows, lambda key, name: Path(name))["f"]["network"]["digests"]
        assert isinstance(found, dict)
        return found

    before = digests()
    assert set(before) == {"my_velocity.py", "my_net.py", "width.txt"}
    flow = own_flow(tmp_path, "x", file=str(file), weights=None, digests=before)
    save_flow(tmp_path / "flow.safetensors", flow, "hash")
    load_flow(tmp_path / "flow.safetensors", "hash")
    (folder / "my_net.py").write_text("SCALE = 3.0\n")
    assert digests() != before
    with pytest.raises(UserError, match=r"my_net.py: changed while the workflow runs"):
        load_flow(tmp_path / "flow.safetensors", "hash")


SHARING = """
import {shared}
import torch
class V(torch.nn.Module):
    def forward(self, x, t):
        return -x * {shared}.SCALE
def velocity():
    return V()
"""


@pytest.mark.parametrize("shared", ["shared_by_flows", "shared_space.scales"])
def test_a_module_elsewhere_is_part_of_every_flow_that_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    """Whoever imported it before, and whether or not its package has an `__init__.py`."""
    elsewhere = tmp_path / "elsewhere"
    source = elsewhere / f"{shared.replace('.', '/')}.py"
    source.parent.mkdir(parents=True)
    source.write_text("import shared_further\nSCALE = 0.5\n")
    (elsewhere / "shared_further.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere)
    mine = importlib.import_module(shared)
    flows = {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "mine.py"
        file.write_text(SHARING.format(shared=shared))
        flows[name] = {"network": {"kind": "torch", "file": str(file)}}
    (tmp_path / "a" / "energy.py").write_text(
        f"import {shared}\ndimension = 2\ndef energy(x):\n    return x.square().sum(1)\n"
    )

    def digests() -> list[dict[str, str]]:
        found = with_velocities(flows, lambda key, name: Path(name))
        energy = source_hashes(load_user_potential(tmp_path / "a" / "energy.py"))
        return [*(found[name]["network"]["digests"] for name in flows), energy]

    before = digests()
    names = {os.path.relpath(elsewhere / "shared_further.py", tmp_path / "a")}
    names |= {os.path.relpath(source, tmp_path / "a")}
    assert [set(each) for each in before] == [
        {"mine.py", *names},
        {"mine.py", *names},
        {"energy.py", *names},
    ]
    file = str(tmp_path / "b" / "mine.py")
    own_flow(tmp_path, "x", file=file, weights=None, digests=before[1])
    assert importlib.import_module(shared) is mine
    source.write_text("import shared_further\nSCALE = 0.25\n")
    changed = [
        {name for name in now if now[name] != then[name]}
        for now, then in zip(digests(), before, strict=True)
    ]
    assert changed == 3 * [{os.path.relpath(source, tmp_path / "a")}]


def test_a_module_that_velocity_imports_as_it_is_called_is_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may have compiled it already."""
    source = tmp_path / "elsewhere" / "shared_late.py"
    source.parent.mkdir()
    source.write_text("SCALE = 0.5\n")
    py_compile.compile(str(source))
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    file = tmp_path / "mine.py"
    imported_late = SHARING.format(shared="shared_late").replace("import shared_late\n", "")
    file.write_text(
        imported_late.replace("def velocity():", "def velocity():\n    import shared_late")
    )
    for _ in range(2):
        assert set(module_hashes(file, "velocity", None)) == {"mine.py", "elsewhere/shared_late.py"}


def test_weights_that_change_after_set_up_are_refused(tmp_path: Path) -> None:
    file, stored = own_file(tmp_path, "self.a(x)"), tmp_path / "my.safetensors"
    save_file(Own().state_dict(), stored)
    network = {"kind": "torch", "file": str(file), "weights": str(stored)}
    found = with_velocities({"f": {"network": network}}, lambda key, name: Path(name))
    digests = found["f"]["network"]["digests"]
    assert set(digests) == {"my_velocity.py", "my.safetensors"}
    own_flow(tmp_path, "self.a(x)", digests=digests)
    other = {name: 2 * values for name, values in Own().state_dict().items()}
    with pytest.raises(UserError, match=r"my.safetensors: changed while the workflow runs"):
        own_flow(tmp_path, "self.a(x)", other, digests=digests)


def test_it_goes_from_the_base_to_the_target(tmp_path: Path) -> None:
    network = {"kind": "torch", "file": str(own_file(tmp_path, "self.a(x)"))}
    _, experiment = wells(tmp_path, network, {}, flow={"levels": "all"})
    with pytest.raises(UserError, match="allowed: levels: last"):
        check_flow(experiment.flow("f"), Base(Domain.euclidean(2)))


def test_a_file_from_elsewhere_is_not_executed_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jeffreysflow import commands

    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    network = {"kind": "torch", "file": str(own_file(elsewhere, "self.a(x)"))}
    layout, experiment = wells(here, network, {})
    monkeypatch.chdir(here)
    monkeypatch.setattr(commands, "check_seal", lambda config: None)
    with pytest.raises(UserError, match="from outside the working folder"):
        commands._trusted(layout.config, trust=False)
    assert isinstance(commands._trusted(layout.config, trust=True), Experiment)
    assert experiment.name == "wells"
