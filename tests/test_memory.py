"""What rules ask for: more than was measured, and not several times as much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.config import Experiment, Project, experiment_file, resolve_experiment
from jeffreysflow.config.dimension import likely_dimension
from jeffreysflow.config.memory import memory_mb
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import get_potential, potential_names

ROOT = Path(__file__).parents[1]
REFERENCE = {
    "ladder": {"kind": "fixed", "values": [0, 0.1, 0.4, 1]},
    "walkers": 1000,
    "warmup_rounds": 1,
    "rounds": 100,
}


def experiment(**more: object) -> Experiment:
    content = {
        "name": "e",
        "title": "e",
        "scale": "test",
        "seed": 1,
        "potential": {"name": "three_well"},
        "references": {"r": REFERENCE},
        "flows": {"f": {"reference": "r"}, "s": {"reference": "r", "levels": "all"}},
    }
    return Experiment.model_validate({**content, **more})


def test_another_map_at_the_end_counts() -> None:
    """A flow needs what the larger of its maps does, wherever that is."""
    small = {"kind": "spline", "hidden": 8, "layers": 2}
    large = {"kind": "spline", "hidden": 4000, "layers": 20}

    def asked(stage: str, network: dict[str, Any], **last: Any) -> int:
        flow = {"reference": "r", "levels": "all", "network": network, **last}
        return memory_mb(experiment(flows={"s": flow}), stage, "s")

    for stage in ("distill", "generate"):
        alone = asked(stage, large)
        assert asked(stage, small) < alone
        assert asked(stage, small, last_level={"network": large}) == alone
        assert asked(stage, large, last_level={"network": small}) == alone


def shipped(name: str, scale: str) -> Experiment:
    project = Project(experiments=[name], scale=scale)
    return resolve_experiment(experiment_file(name, ROOT), project)


@pytest.mark.parametrize("name", potential_names())
def test_the_dimension_is_seen_without_the_energy(name: str) -> None:
    potential = get_potential(name)
    assert likely_dimension(experiment(potential={"name": name})) >= potential.dimension


@pytest.mark.parametrize(
    ("text", "d"),
    [("dimension = 5\n", 5), ("import torch\ndimension: int = 40  # many\n", 40), ("", 16)],
)
def test_the_dimension_of_a_file_is_what_it_says(text: str, d: int, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    mine = experiment(potential={"file": str(tmp_path / "mine.py")})
    assert likely_dimension(mine) == d


def test_other_signs_of_the_dimension() -> None:
    assert likely_dimension(experiment(observables=["x12 * x2"])) == 12
    assert likely_dimension(experiment(base={"sd": [1.0] * 7})) == 7
    ring = {"beta": 1, "modes": 7, "action_beads": 32, "beads": [32]}
    assert likely_dimension(experiment(path_integral=ring)) >= 7


@pytest.mark.parametrize(
    ("stage", "source"),
    [("temper", "r"), ("gather", "r"), ("estimate", "r"), ("distill", "s"), ("figures", "")],
)
def test_more_samples_need_more(stage: str, source: str) -> None:
    def asked(walkers: int) -> int:
        reference = {**REFERENCE, "walkers": walkers}
        return memory_mb(experiment(references={"r": reference}), stage, source)

    assert asked(1000) < asked(100_000)


def test_ranks_and_batches_need_more() -> None:
    assert memory_mb(experiment(), "temper", "r", 4) > 3 * memory_mb(experiment(), "temper", "r")
    wide = experiment(flows={"f": {"reference": "r", "network": {"hidden": 1000}}})
    for stage in ("distill", "generate"):
        assert memory_mb(wide, stage, "f") > memory_mb(experiment(), stage, "f")


def test_mini_batches_need_more() -> None:
    def asked(batch: int, walkers: int = 1000) -> int:
        kernel = {"name": "sgld", "parameters": {"batch": batch}}
        reference = {**REFERENCE, "walkers": walkers, "kernel": kernel, "local_steps": 10}
        return memory_mb(experiment(references={"r": reference}), "temper", "r")

    def swapped(size: int) -> int:
        rule = {"name": "penalty", "parameters": {"size": size}}
        reference = {**REFERENCE, "walkers": 1000, "swap_rule": rule}
        return memory_mb(experiment(references={"r": reference}), "temper", "r")

    def moved(batch: int) -> int:
        flow = {"reference": "r", "levels": "all", "rejuvenation_kernel": "sgld"}
        flow |= {"rejuvenation_parameters": {"batch": batch}, "rejuvenation_step": 0.1}
        return memory_mb(experiment(flows={"f": flow}), "distill", "f")

    assert asked(1000) - asked(1) > 4000 * 10 * 1000 * 8 / 2**20
    # of swaps two mini-batches
    assert swapped(10_000) - swapped(1) > 2 * 4000 * 10_000 * 8 / 2**20
    # a tile at a time, and of an ensemble so many samples that it is 128 MB
    assert asked(1000, 100_000) - asked(1, 100_000) < 4 * 8192 * 10 * 1000 * 8 / 2**20
    assert 100 < moved(100) - moved(1) <= moved(10_000) - moved(1) < 500


def test_an_island_is_in_memory_as_a_whole() -> None:
    """With the random numbers of its weights."""

    def asked(kind: str, jacobian: str = "stepwise") -> int:
        network = {"kind": "continuous", "jacobian": {"kind": jacobian}}
        flows = {"f": {"reference": "r", "loss": {"kind": "flow_matching"}, "network": network}}
        sampling = {"kind": kind, "islands": 8}
        generation = {"samples": 800_000, "sampling": sampling}
        return memory_mb(experiment(flows=flows, generation=generation), "generate", "f")

    d, steps = 2, 20
    assert asked("smc") - asked("importance") > 8e5 / 8 * 4 * (d + steps * d) * 8 / 2**20
    assert asked("smc", "brute_force") < asked("smc")


def test_processes_that_train_need_more() -> None:
    def asked(processes: int) -> int:
        section = {"reference": "r", "training": {"processes": processes}}
        return memory_mb(experiment(flows={"f": section}), "distill", "f")

    # its libraries alone take 300 MiB
    assert asked(1) + 400 < asked(2) < 2 * asked(1)
    assert asked(4) > asked(1) + 1200


def test_workers_of_an_energy_need_more_where_energies_are_asked_for() -> None:
    def asked(stage: str, source: str, workers: int, ranks: int = 1) -> int:
        plain = experiment()
        potential = plain.potential.model_copy(update={"workers": workers})
        return memory_mb(plain.model_copy(update={"potential": potential}), stage, source, ranks)

    for stage, source in (("temper", "r"), ("distill", "f"), ("generate", "f")):
        assert asked(stage, source, 4) > asked(stage, source, 1) + 1200
    assert asked("temper", "r", 4, ranks=2) > 1.8 * asked("temper", "r", 4)
    assert asked("report", "all", 4) == asked("report", "all", 1)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UserError, match="unknown flow"):
        memory_mb(experiment(), "generate", "x")
    with pytest.raises(UserError, match="unknown reference"):
        memory_mb(experiment(), "temper", "f")


# --- against what was measured, MiB: sizes as in these experiments, few steps

PLANE = experiment(
    base={"sd": 2},
    observables=["x1", "x2", "x1**2"],
    views=[["x1", "x2"]],
    truth={"box": [[-5, 5], [-5, 5]], "points": 512},
    references={"r": {**REFERENCE, "walkers": 4000}},
    generation={"samples": 1_000_000},
)
EIGHT = experiment(
    potential={"name": "rastrigin_8d"},
    observables=["x1", "x2", "x1**2"],
    truth={"method": "exact_map", "samples": 65536, "scramblings": 16},
    references={
        "r": {
            **REFERENCE,
            "ladder": {"kind": "fixed", "values": [0, 0.05, 0.1, 0.2, 0.4, 1]},
            "rounds": 200,
        }
    },
    flows={
        "s": {"reference": "r", "levels": "all", "ensemble": 400_000},
        "f": {
            "reference": "r",
            "network": {"hidden": 128, "layers": 8},
            "training": {"batch": 4000},
        },
    },
)
SIXTEEN = experiment(
    potential={"name": "solvated_16d"},
    references={
        "r": {**REFERENCE, "ladder": {"kind": "adaptive", "levels": 31}, "rounds": 500},
    },
    flows={"s": {"reference": "r", "levels": "all", "ensemble": 500_000}},
)
RING = experiment(
    potential={"name": "quantum_double_well"},
    observables=["sin(x1)", "cos(x1)"],
    profiles=[{"expression": "x1", "lower": -2, "upper": 2, "bins": 64}],
    truth={},
    path_integral={"beta": 1, "modes": 7, "action_beads": 32, "beads": [8, 16, 32, 64]},
    references={"r": {**REFERENCE, "target": "classical", "walkers": 500, "rounds": 40}},
    generation={"samples": 65536, "base_points": "sobol", "scramblings": 8},
)
PEAKS = [
    (PLANE, "truth", "", 334),
    (PLANE, "temper", "r", 397),
    (PLANE, "gather", "r", 525),
    (PLANE, "estimate", "r", 358),
    (PLANE, "distill", "f", 412),
    (PLANE, "generate", "f", 406),
    (PLANE, "estimate", "f", 436),
    (PLANE, "figures", "", 485),
    (EIGHT, "truth", "", 327),
    (EIGHT, "temper", "r", 391),
    (EIGHT, "gather", "r", 505),
    (EIGHT, "estimate", "r", 359),
    (EIGHT, "distill", "s", 662),
    (EIGHT, "distill", "f", 723),
    (RING, "truth", "", 371),
    (RING, "temper", "r", 379),
    (RING, "gather", "r", 391),
    (RING, "distill", "f", 480),
    (RING, "generate", "f", 395),
    (RING, "beads", "f", 406),
    (RING, "figures", "", 383),
    (SIXTEEN, "temper", "r", 435),
    (SIXTEEN, "gather", "r", 715),
    (SIXTEEN, "distill", "s", 1235),
]


@pytest.mark.parametrize(
    ("of", "stage", "source", "peak"),
    PEAKS,
    ids=[f"{of.potential.name}-{stage}-{source}" for of, stage, source, _ in PEAKS],
)
def test_what_is_asked_for_covers_what_was_measured(
    of: Experiment, stage: str, source: str, peak: int
) -> None:
    asked = memory_mb(of, stage, source)
    assert 1.2 * peak <= asked <= 2.5 * peak


def test_the_default_run_fits_where_it_should() -> None:
    """Two jobs side by side in 1.5 GB is what is measured; what is asked for has its margin."""
    for name in ("three_well", "periodic_well", "quantum_double_well"):
        of = shipped(name, "quick")
        for flow in of.flows:
            assert memory_mb(of, "distill", flow) <= 2000
