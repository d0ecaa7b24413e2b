"""A fitted base stands where its flow begins: at the hottest level of a sequence, or the target."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import i0e

from jeffreysflow.analysis.ladder_log_z import ladder_log_z
from jeffreysflow.analysis.run_to_the_end import check_run_to_the_end
from jeffreysflow.config import Experiment
from jeffreysflow.config.hashes import base_hash, flow_hash
from jeffreysflow.errors import UserError
from jeffreysflow.launch.made_by_stages import made_by_stages
from jeffreysflow.report.data import Results
from jeffreysflow.report.flow_tables import flow_table
from jeffreysflow.stages import base, distill, estimate, gather, generate, truth
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import EstimateRow, TemperatureRow, read_table
from jeffreysflow.stores.usage import Used, write_used
from sample_cases import BODY as GAUSSIANS
from sample_cases import PRECISION, experiment_of, write_files

STIFF, DEEP, HOT = 25.0, 8.0, 0.1
ENERGY = f"""
import torch

dimension = 2
periodic = {{1: (-torch.pi, torch.pi)}}


def energy(x):
    return {STIFF / 2} * (x[:, 0] - 1) ** 2 - {DEEP} * torch.cos(x[:, 1])
"""
BODY = """
title: one base for each way
potential: {{file: energy.py}}
base: {{kind: fitted{more}}}
observables: [x1]
references:
  r:
    kind: samples
    files:
{files}
flow_defaults:
  reference: r
  theta: 0.5
  renyi: 1
  network: {{layers: 2, hidden: 8, bins: 4}}
  training: {{steps: 4, batch: 100, learning_rate: 1e-9}}
  ensemble: 4000
flows:
  single: {{}}
  sequence: {{levels: all, rejuvenation_steps: 5}}
generation: {{samples: 8192}}
"""
FILES = "      - {file: hot.npz, lam: 0.1}\n      - {file: cold.npz, lam: 1}"


def log_z(lam: float) -> float:
    kappa = DEEP * lam
    circle = math.log(2 * math.pi * i0e(kappa)) + kappa
    return 0.5 * math.log(2 * math.pi / (STIFF * lam)) + circle


def one_of_each(folder: Path, more: str = "") -> Experiment:
    (folder / "energy.py").write_text(ENERGY)
    rng = np.random.default_rng(5)
    for name, lam in {"hot": HOT, "cold": 1.0}.items():
        x = 1 + rng.normal(size=(200, 16)) / math.sqrt(STIFF * lam)
        np.savez(folder / f"{name}.npz", x=np.stack([x, rng.vonmises(0, DEEP * lam, x.shape)], -1))
    return experiment_of(folder, files=FILES, body=BODY.replace("{more}", more))


def by_quantity(file: Path) -> dict[str, EstimateRow]:
    return {row.quantity: row for row in read_table(file, EstimateRow)}


def rewritten(layout: Layout, **facts: float) -> None:
    """The record of the base at the hottest level, with other facts."""
    file = layout.base("first") / "done.json"
    record = read_record(file)
    names = ("ess", "log_z", "log_z_error", "log_z_dof", "pareto_k")
    kept = {name: record[name] for name in names}
    write_record(file, "base", record["hash"], time.time(), **{**kept, **facts})


def test_each_flow_has_the_base_of_the_level_that_it_goes_to_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = one_of_each(tmp_path)
    assert experiment.base_levels == ["first", "last"]
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    for level, lam in {"first": HOT, "last": 1.0}.items():
        base.run(layout, experiment, level)
        record = read_record(layout.base(level) / "done.json")
        assert record["ess"] > 0.95
        assert abs(record["log_z"] - log_z(lam)) < 4 * record["log_z_error"]
    distill.run(layout, experiment, "single", 1)
    for level in (1, 2):
        distill.run(layout, experiment, "sequence", level)
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    by_ladder = by_quantity(layout.reference("r").estimates)["log_z"]
    assert by_ladder.stderr is not None
    assert abs(by_ladder.value - log_z(1.0)) < 4 * by_ladder.stderr < 0.2
    alone = {"single": "Pareto k", "sequence": ", at level 1"}
    for flow, name in {"single": "log_z", "sequence": "ensemble_log_z"}.items():
        generate.run(layout, experiment, flow)
        estimate.run_flow(layout, experiment, flow)
        rows = read_table(layout.flow(flow).estimates, EstimateRow)
        found = [row for row in rows if row.quantity == name][-1]
        assert found.stderr is not None
        assert abs(found.value - log_z(1.0)) < 4 * found.stderr
        table = flow_table(Results(experiment, {flow: rows}), {})
        (line,) = (line for line in table.rows if line[0].text == flow)
        cell = line[table.headings.index("base alone")]
        assert cell.text.endswith("%")
        assert alone[flow] in cell.note
    cess = {row.level: row.value for row in rows if row.quantity == "cess"}
    # flows that are not trained: the base is good for the hot level, and only for that
    assert cess[1] > 0.95
    assert cess[2] < 0.5
    assert "its log Z differs from that of the reference r" not in capsys.readouterr().out
    rewritten(layout, log_z=log_z(HOT) + 1)
    estimate.run_reference(layout, experiment, "r")
    for flow, source in {"single": "single", "sequence": "ensemble:sequence"}.items():
        estimate.run_flow(layout, experiment, flow)
        assert (
            f"{source}: its log Z differs from that of the reference r" in capsys.readouterr().out
        )
    # a base that is far from the hottest level says nothing
    for poor in ({"ess": 0.04}, {"pareto_k": 0.9}):
        rewritten(layout, log_z=log_z(HOT) + 1, **poor)
        estimate.run_reference(layout, experiment, "r")
        assert "no log Z: the base alone has ESS" in capsys.readouterr().out
        assert "log_z" not in by_quantity(layout.reference("r").estimates)
    # nor does a ladder without an error
    rewritten(layout, log_z=log_z(HOT), ess=0.9, pareto_k=0.3)
    difference = TemperatureRow(HOT, "log_z", -1.5, 0.1)
    found_by_ladder = ladder_log_z(layout, experiment, "r", [difference])
    assert found_by_ladder is not None
    assert found_by_ladder.value == log_z(HOT) + 1.5
    assert 0.1 < found_by_ladder.error < 0.11
    assert ladder_log_z(layout, experiment, "r", [difference._replace(stderr=None)]) is None
    assert "no log Z: the levels say no error of it" in capsys.readouterr().out
    # estimates of a reference are made from that base
    place = ("estimate_reference", "r", experiment.estimate_hash(), None, 0, 1, 1, "here")
    used = Used(*place, "2098-01-01T00:00:00+0000", True, 1, 1.0, 1.0, 1.0, 0)
    write_used(layout.usage("estimate_reference", "r"), used)
    check_run_to_the_end(layout, experiment)
    file = layout.base("first") / "done.json"
    later = {**json.loads(file.read_text()), "finished": "2099-01-01T00:00:00+0000"}
    write_sealed(file, json.dumps(later))
    with pytest.raises(UserError, match="estimates of r are older than the samples"):
        check_run_to_the_end(layout, experiment)


def test_one_level_for_all_may_be_asked_for(tmp_path: Path) -> None:
    auto = one_of_each(tmp_path)
    last, first = (one_of_each(tmp_path, f", level: {level}") for level in ("last", "first"))
    assert (last.base_levels, first.base_levels) == (["last"], ["first"])
    assert flow_hash(auto, "single") == flow_hash(last, "single") != flow_hash(first, "single")
    assert flow_hash(auto, "sequence") == flow_hash(first, "sequence")
    assert base_hash(auto, "first") == base_hash(first, "first") != base_hash(last, "last")
    layout = Layout(tmp_path / "results", last.name)
    stages = [made.stage for made in made_by_stages(layout, auto, lambda _: 1)]
    made = [made.of for made in made_by_stages(layout, auto, lambda _: 1) if made.stage == "base"]
    assert made == ["first", "last"]
    assert stages.index("base") < stages.index("estimate_reference")
    assert (auto.base_is_at_hottest("r"), last.base_is_at_hottest("r")) == (True, False)
    with pytest.raises(UserError, match="fitted to the first level; allowed: last"):
        base.run(layout, last, "first")


@pytest.mark.parametrize(("sd", "levels", "known"), [(1, "all", 1), (30, "all", 0), (1, "last", 0)])
def test_a_base_that_is_not_fitted_gives_log_z_by_the_ladder_too(
    sd: float, levels: str, known: int, tmp_path: Path
) -> None:
    """Where a sequence starts from it, and it is near enough to the hottest level."""
    write_files(tmp_path)
    changed = f"base: {{{{sd: {sd}}}}}\nflow_defaults: {{{{levels: {levels}}}}}\nflows:"
    experiment = experiment_of(tmp_path, body=GAUSSIANS.replace("flows:", changed))
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    rows = read_table(layout.reference("r").estimates, EstimateRow)
    found = [row for row in rows if row.quantity == "log_z"]
    assert len(found) == known
    for row in found:
        assert row.stderr is not None
        assert abs(row.value - math.log(2 * math.pi / PRECISION)) < 4 * row.stderr < 0.2
