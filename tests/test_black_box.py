"""Energies in numpy, of one configuration at a time, with gradients of their own or without."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Base, Potential
from jeffreysflow.potentials.checks import check_potential, check_resolution
from jeffreysflow.potentials.consistency import check_consistency
from jeffreysflow.potentials.probe import check_density
from jeffreysflow.potentials.user import UserPotential, load_user_potential

TORCH = """
import torch
dimension = 2
def energy(x):
    return (x ** 4).sum(dim=1) - x[:, 0] * x[:, 1]
observables = {"product": lambda x: x[:, 0] * x[:, 1]}
"""
NUMPY = """
import numpy as np
framework = "numpy"
dimension = 2
def energy(x):
    return (x ** 4).sum(axis=1) - x[:, 0] * x[:, 1]
observables = {"product": lambda x: x[:, 0] * x[:, 1]}
"""
GRADIENT = """
def energy_and_gradient(x):
    return energy(x), 4 * x ** 3 - x[:, ::-1]
"""
SAMPLE = """
import math
framework = "numpy"
per_sample = True
dimension = 2
def energy(x):
    assert x.shape == (2,)
    return sum(float(c) ** 4 for c in x) - x[0] * x[1]
observables = {"product": lambda x: x[0] * x[1]}
"""
SAMPLE_GRADIENT = """
def energy_and_gradient(x):
    return energy(x), 4 * x ** 3 - x[::-1]
"""
TORCH_SAMPLE = """
per_sample = True
dimension = 2
def energy(x):
    return (x ** 4).sum() - x[0] * x[1]
observables = {"product": lambda x: x[0] * x[1]}
"""
TORCH_GRADIENT = """
dimension = 2
def energy_and_gradient(x):
    return (x ** 4).sum(dim=1) - x[:, 0] * x[:, 1], 4 * x ** 3 - x.flip(1)
observables = {"product": lambda x: x[:, 0] * x[:, 1]}
"""
KINDS = {
    "torch": (TORCH, 2),
    "numpy": (NUMPY, 0),
    "numpy with gradients": (NUMPY + GRADIENT, 1),
    "sample by sample": (SAMPLE, 0),
    "sample by sample, with gradients": (SAMPLE + SAMPLE_GRADIENT, 1),
    "torch, sample by sample": (TORCH_SAMPLE, 2),
    "torch with gradients": (TORCH_GRADIENT, 1),
}
X = torch.tensor([[0.5, -1.0], [1.5, 0.25], [0.0, 0.0]], dtype=torch.float64)


def loaded(folder: Path, code: str, workers: int = 1) -> UserPotential:
    file = folder / "mine.py"
    file.write_text(code)
    return load_user_potential(file, workers)


def checked(potential: Potential) -> None:
    base = Base(potential.domain)
    for check in (check_potential, check_consistency, check_resolution, check_density):
        check(potential, base, "mine")


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_the_same_energy(tmp_path: Path, kind: str) -> None:
    code, derivatives = KINDS[kind]
    potential = loaded(tmp_path, code)
    assert potential.derivatives == derivatives
    expected = (X**4).sum(dim=1) - X[:, 0] * X[:, 1]
    for dtype in (torch.float64, torch.float32):
        energy = potential.energy(X.to(dtype))
        assert energy.dtype == dtype
        assert torch.allclose(energy.double(), expected, rtol=1e-6)
    assert torch.allclose(potential.observables["product"](X), X[:, 0] * X[:, 1])
    checked(potential)
    if derivatives == 0:
        with pytest.raises(UserError, match="a gradient needs gradients"):
            potential.energy_and_gradient(X)
        return
    gradient = 4 * X**3 - X.flip(1)
    assert torch.allclose(potential.energy_and_gradient(X)[1], gradient)
    y = X.clone().requires_grad_()
    (weighted,) = torch.autograd.grad((potential.energy(y) * torch.arange(3)).sum(), y)
    assert torch.allclose(weighted, gradient * torch.arange(3)[:, None])


@pytest.mark.usefixtures("_forking")
@pytest.mark.parametrize("code", [SAMPLE, SAMPLE + SAMPLE_GRADIENT])
def test_workers_give_the_same_bits(tmp_path: Path, code: str) -> None:
    here, there = loaded(tmp_path, code), loaded(tmp_path, code, workers=2)
    x = torch.randn(37, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(here.energy(x), there.energy(x))
    if here.derivatives:
        for mine, theirs in zip(
            here.energy_and_gradient(x), there.energy_and_gradient(x), strict=True
        ):
            assert torch.equal(mine, theirs)


@pytest.mark.usefixtures("_forking")
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import os; os._exit(3)", "its worker process has ended"),
    ],
)
def test_what_a_worker_raises_is_one_line(tmp_path: Path, end: str, said: str) -> None:
    code = SAMPLE.replace("    assert x", f"    if x[0] > 1: {end}\n    assert x")
    potential = loaded(tmp_path, code, workers=2)
    with pytest.raises(UserError, match=said) as caught:
        potential.energy(X)
    assert "mine.py: energy(x)" in str(caught.value)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SAMPLE)
    code = f"""
import time, torch
from pathlib import Path
from jeffreysflow.potentials.user import load_user_potential
potential = load_user_potential(Path({str(file)!r}), 2)
potential.energy(torch.zeros(9, 2))
print("ready", flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.wait()
    until = time.monotonic() + 30
    while any(worker.is_running() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('framework = "jax"\n' + TORCH, "unknown framework 'jax'; allowed: numpy, torch"),
        ("per_sample = 1\n" + TORCH, "'per_sample' must be True or False, found 1"),
        ("dimension = 2\n", "'energy' must be a function"),
        ("dimension = 2\nenergy_and_gradient = 3\n", "'energy_and_gradient' must be a function"),
    ],
)
def test_definitions_of_the_wrong_kind(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        loaded(tmp_path, code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (NUMPY.replace("axis=1)", "axis=1, keepdims=True)"), r"must have shape \[3\]"),
        (NUMPY.replace("return (", "return 'no' or ("), "must have shape .* found str"),
        (
            NUMPY + GRADIENT.replace("4 * x ** 3 - x[:, ::-1]", "x[:, :1]"),
            r"the gradient of energy_and_gradient\(x\) must have shape \[3, 2\]",
        ),
        (
            NUMPY + "\ndef energy_and_gradient(x):\n    return energy(x)\n",
            "must give a tuple of energies and gradients",
        ),
        (SAMPLE.replace("return sum", "return x + sum"), "one configuration must give one number"),
    ],
)
def test_answers_of_the_wrong_shape(tmp_path: Path, code: str, said: str) -> None:
    potential = loaded(tmp_path, code)
    with pytest.raises(UserError, match=said):
        potential.energy(X.clone().requires_grad_())


def test_a_gradient_that_is_not_the_slope_is_refused(tmp_path: Path) -> None:
    potential = loaded(tmp_path, NUMPY + GRADIENT.replace("4 * x", "3 * x"))
    with pytest.raises(UserError, match="is not its slope"):
        checked(potential)


@pytest.mark.parametrize("code", [NUMPY, TORCH, NUMPY + GRADIENT])
def test_workers_are_for_one_configuration_at_a_time(tmp_path: Path, code: str) -> None:
    with pytest.raises(UserError, match="per_sample = True"):
        loaded(tmp_path, code, workers=2)


def test_torch_does_not_differentiate_through_workers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot differentiate through worker processes"):
        loaded(tmp_path, TORCH_SAMPLE, workers=2)
