"""The velocity that begins with Gaussians fitted to the reference."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.discovery import names_in
from jeffreysflow.distillation.ensemble import effective_sample_size, log_evidence
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation import fit_lines
from jeffreysflow.estimation.fit_base import fit_gaussians
from jeffreysflow.flows import velocities
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.map import TransportMap, build_map
from jeffreysflow.launch.flow_settings import check_flow
from jeffreysflow.launch.handing_over import from_bytes, to_bytes
from jeffreysflow.potentials import AnnealingPath, Base, Potential, get_potential
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.stages import distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples
from velocity_cases import wells

BASE = Base(Domain.euclidean(3), [1.0, 0.0, -2.0], [2.0, 0.5, 1.0])


def t(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def a_factor() -> torch.Tensor:
    return t([[0.8, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.2, 0.1, 1.5]])


def begun(law: LineMixture, steps: int = 30, **parameters: Any) -> TransportMap:
    """The map of this velocity from ``BASE`` to a mixture."""
    settings = {
        "velocity": "mixture",
        "steps": steps,
        "parameters": {"components": 3, "hidden": 0, **parameters},
    }
    box = spline_box(BASE, BASE.sample(10, Stream(1)))
    flow = build_map("continuous", settings, box, BASE, Stream(2)).double()
    flow.start_at(law)
    return flow


def two() -> LineMixture:
    factors = torch.stack([a_factor(), torch.diag(t([0.3, 0.9, 0.5]))])
    return LineMixture(t([0.3, 0.7]), t([[4.0, 1.0, 0.0], [-3.0, 0.0, 1.0]]), factors)


def log_weights(flow: TransportMap, law: LineMixture, n: int = 1000) -> torch.Tensor:
    z = BASE.sample(n, Stream(4, "z"))
    x, log_det = flow(z)
    return law.log_density(x) + BASE.energy(z) + log_det


def test_one_gaussian_is_reached_by_its_linear_map() -> None:
    mean, factor = t([[2.0, -1.0, 0.5]]), a_factor()
    flow = begun(LineMixture(t([1.0]), mean, factor[None]))
    z = BASE.sample(4, Stream(3, "z"))
    sd = BASE.sd
    variances, axes = torch.linalg.eigh((factor / sd[:, None]) @ (factor / sd[:, None]).T)
    root = axes @ torch.diag(variances.sqrt()) @ axes.T
    expected = mean + ((z - BASE.mean) / sd @ root.T) * sd
    x, log_det = flow(z)
    torch.testing.assert_close(x, expected, atol=1e-4, rtol=0)
    assert float(log_det[0]) == pytest.approx(float(variances.log().sum()) / 2, abs=1e-4)


def test_two_gaussians_have_equal_weights_and_those_of_another_mixture_do_not() -> None:
    law = two()
    found = log_weights(begun(law), law)
    assert effective_sample_size(found) > 0.999
    assert abs(log_evidence(found)) < 5e-3
    other = LineMixture(t([0.5, 0.5]), law.means, law.factors)
    assert effective_sample_size(log_weights(begun(other), law)) < 0.9


def test_what_is_learnt_begins_at_nothing_and_all_is_stored(tmp_path: Path) -> None:
    law, z = two(), BASE.sample(4, Stream(5, "z"))
    alone, learning = begun(law, 5), begun(law, 5, hidden=8, layers=1, features=4)
    assert alone.is_trained
    assert not learning.is_trained
    torch.testing.assert_close(alone(z), learning(z))
    save_flow(tmp_path / "flow.safetensors", alone, "hash")
    again = load_flow(tmp_path / "flow.safetensors", "hash").double()
    assert torch.equal(again(z)[0], alone(z)[0])
    assert again.is_trained


def two_wells(results: Path, hidden: int) -> tuple[Layout, Experiment]:
    network = {
        **{"kind": "continuous", "velocity": "mixture", "steps": 12},
        "parameters": {"components": 2, "hidden": hidden, "layers": 1, "features": 4},
        "jacobian": {"kind": "brute_force"},
    }
    layout, experiment = wells(
        results, network, {"samples": 1024, "batch": 1024}, base={"sd": 0.45}
    )
    temper.run(layout, experiment, "r")
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    return layout, experiment


def test_a_level_begins_with_what_is_fitted_to_its_reference(tmp_path: Path) -> None:
    layout, experiment = two_wells(tmp_path, 0)
    generate.run(layout, experiment, "f")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    estimate.run_flow(layout, experiment, "f")
    rows = {row.quantity: row for row in read_table(layout.flow("f").estimates, EstimateRow)}
    # half of the samples are of the well of a quarter: .8 at most
    assert rows["ess"].value > 0.65
    found = rows["observable:x1 < 0"]
    assert found.stderr is not None
    assert abs(found.value - 0.25) < 4 * found.stderr


def test_training_goes_on_from_there(tmp_path: Path) -> None:
    layout, experiment = two_wells(tmp_path, 8)
    record = read_record(layout.flow("f").level(1) / "done.json", experiment.flow_hash("f"))
    assert record["ess"] > 0.65
    assert (layout.flow("f").level(1) / "history.csv").read_text().count("\n") > 2


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"levels": "all"}, "allowed: levels: last, found all"),
        ({"loss": {"kind": "v_prediction"}}, r"allowed: loss: \{kind: flow_matching\}"),
        (
            {"loss": {"kind": "flow_matching", "parameters": {"pairing": "optimal"}}},
            "without pairing",
        ),
    ],
)
def test_what_does_not_begin_at_the_base_is_one_line(
    tmp_path: Path, flow: dict[str, Any], message: str
) -> None:
    network = {"kind": "continuous", "velocity": "mixture", "parameters": {"components": 2}}
    _, experiment = wells(tmp_path, network, {}, flow=flow)
    with pytest.raises(UserError, match=message):
        check_flow(experiment.flow("f"), Base(Domain.euclidean(2)))


@pytest.mark.parametrize("components", [0, -1, 2.5, "two"])
def test_a_number_of_components_that_is_none(components: object) -> None:
    with pytest.raises(UserError, match="components"):
        begun(two(), components=components)


def wells_of(d: int, n: int, seed: int = 5) -> tuple[Potential, torch.Tensor, torch.Tensor]:
    """Two wells, samples to fit to and others to choose by."""
    target = get_potential("two_wells", dimension=d)
    x, _ = exact_samples(target, n, Stream(seed, "x"))
    x = x[Stream(seed, "order").permutation(n)]
    return target, x[n // 5 :], x[: n // 5]


def test_gradients_know_the_covariance_of_a_gaussian() -> None:
    """With 40 samples a coordinate and well the weights of a fit by samples vary."""
    d = 20
    target, x, held_out = wells_of(d, 1600)
    sampled = fit_gaussians(x, held_out, 2, Stream(6, "c"))
    asked = fit_gaussians(
        x, held_out, 2, Stream(6, "c"), lambda x: target.energy_and_gradient(x)[1]
    )
    fresh, _ = exact_samples(target, 4000, Stream(7, "x"))
    spread = {}
    for name, law in (("samples", sampled), ("gradients", asked)):
        off = law.log_density(fresh) + target.energy(fresh)
        within = [off[side].var() for side in (fresh[:, 0] < 0, fresh[:, 0] > 0)]
        spread[name] = float(torch.stack(within).max())
    assert spread["samples"] > 0.05
    assert spread["gradients"] < 1e-6


def test_wells_are_found_in_many_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the nearest of two samples is whichever has the smaller norm. The control: by distances
    alone nearly all samples are of one component, by the luck of the draw.
    """
    _, x, _ = wells_of(300, 900)
    left, found = (x[:, 0] < 0).double(), {}
    for many in (100, 10_000):
        monkeypatch.setattr(fit_lines, "_MANY", many)
        correlations = []
        for k in range(6):
            mixture = fit_lines._expectation_maximisation(x, 2, Stream(k, "components"))
            share = fit_lines._shares(mixture, x)[:, 0]
            correlations.append(abs(float(torch.corrcoef(torch.stack([share, left]))[0, 1])))
        found[many] = min(correlations)
    assert found[100] > 0.999
    assert found[10_000] < 0.5


@pytest.mark.parametrize("n", [16, 400])
def test_gradients_of_no_gaussian_change_nothing_for_the_worse(n: int) -> None:
    """Too few samples, gradients that are not finite, or of something else."""
    _, x, held_out = wells_of(4, n)
    usual = fit_gaussians(x, held_out, 2, Stream(6, "c"))
    noise = Stream(8, "noise")
    for gradient in (
        lambda x: torch.full_like(x, math.nan),
        lambda x: 100 * noise.normal(*x.shape),
        lambda x: -x,
    ):
        found = fit_gaussians(x, held_out, 2, Stream(6, "c"), gradient)
        assert torch.equal(found.log_density(x), usual.log_density(x))


def test_samples_that_never_change_are_one_line() -> None:
    x = torch.cat([BASE.sample(100, Stream(6, "x"))[:, :2], torch.ones(100, 1).double()], dim=1)
    with pytest.raises(UserError, match=r"x3.*never changes"):
        fit_gaussians(x[:80], x[80:], 2, Stream(7, "c"))


@pytest.mark.parametrize("velocity", sorted(names_in(velocities.__path__)))
def test_a_flow_is_handed_to_other_processes(velocity: str) -> None:
    """Those that train it together."""
    domain = Domain.euclidean(6)
    base = Base(domain)
    settings: dict[str, Any] = {"velocity": velocity, "steps": 2}
    if velocity == "particles":
        settings["parameters"] = {"dimension": 2}
    box = spline_box(base, base.sample(10, Stream(1)))
    flow = build_map("continuous", settings, box, base, Stream(2)).double()
    path = AnnealingPath(base, get_potential("many_well", dimension=6))
    training = SimpleNamespace(flow=flow, energy=path.target.energy)
    again = from_bytes(to_bytes(training, path), path, torch.device("cpu"))  # type: ignore[arg-type]
    z = base.sample(3, Stream(3))
    assert torch.equal(again.flow(z)[0], flow(z)[0])
