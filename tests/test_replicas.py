"""The replicas store and the stage's dealings with what it finds: complete, foreign, damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.replicas import Replicas, verify_replicas
from jeffreysflow.tempering.communicator import SerialCommunicator
from seal_cases import rewrite
from tempering_cases import Interrupted, contents, experiment_in

SMALL = {"walkers": 30, "tile": {"walkers": 12, "replicas": 3}, "rounds": 40, "thin": 3}


def run(layout: Layout, experiment: Experiment) -> Path:
    temper.run(layout, experiment, "blocks", communicator=SerialCommunicator())
    return layout.reference("blocks").replicas


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Experiment, Path]:
    layout, experiment = experiment_in(tmp_path_factory.mktemp("complete"), **SMALL)
    return layout, experiment, run(layout, experiment)


@pytest.fixture
def copied(
    complete: tuple[Layout, Experiment, Path], tmp_path: Path
) -> tuple[Layout, Experiment, Path]:
    _, _, folder = complete
    layout, experiment = experiment_in(tmp_path, **SMALL)
    target = layout.reference("blocks").replicas
    for name, content in contents(folder).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return layout, experiment, target


def test_xarray_opens_the_store(complete: tuple[Layout, Experiment, Path]) -> None:
    _, experiment, folder = complete
    data = xarray.open_zarr(folder / "store.zarr", consolidated=False)
    assert dict(data.x.sizes) == {"draw": 13, "replica": 4, "walker": 30, "coordinate": 2}
    assert data.V.dims == data.U_0.dims == data.level.dims == ("draw", "replica", "walker")
    assert data.V.attrs["units"] == "kT"
    assert data.attrs["hash"] == experiment.reference_hash("blocks")
    assert data.attrs["seed"] == 3
    assert data.attrs["ladder"][0] == 0.0
    assert data.attrs["ladder"][-1] == 1.0
    assert not bool(data.x.isnull().any())
    assert (np.sort(data.level.to_numpy(), axis=1) == np.arange(4)[:, None]).all()
    assert bool((data.complete == 1).all())


def test_nothing_in_the_store_tells_when_and_where_it_was_made(
    complete: tuple[Layout, Experiment, Path],
) -> None:
    _, _, folder = complete
    record = json.loads((folder / "done.json").read_text())
    assert {"wall_seconds", "host", "ranks", "threads", "finished"} <= set(record)
    for file, content in contents(folder / "store.zarr").items():
        if file.endswith("zarr.json"):
            assert record["host"].encode() not in content
            assert record["finished"][:10].encode() not in content


def test_statistics_are_kept_by_walker(complete: tuple[Layout, Experiment, Path]) -> None:
    _, _, folder = complete
    replicas = Replicas(folder / "store.zarr")
    statistics = replicas.statistics
    assert statistics.swap_acceptance.shape == (3, 30)
    assert ((statistics.swap_acceptance > 0) & (statistics.swap_acceptance <= 1)).all()
    assert statistics.round_trips.shape == (30,)
    assert statistics.ladder.tolist() == replicas.attributes["ladder"]
    assert statistics.rejection.shape == (3,)
    assert sum(len(chunk.x) for chunk in replicas.chunks()) == replicas.draws == 13


def test_a_complete_store_is_left_as_it_is(
    complete: tuple[Layout, Experiment, Path],
) -> None:
    layout, experiment, folder = complete
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    run(layout, experiment)
    assert before == {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def test_a_store_whose_record_is_lost_gets_it_again(
    copied: tuple[Layout, Experiment, Path],
) -> None:
    layout, experiment, folder = copied
    before, store = contents(folder), contents(folder / "store.zarr")
    (folder / "done.json").unlink()
    run(layout, experiment)
    assert contents(folder) == before  # the record too: who made it, when, and how long it took
    (folder / "done.json").unlink()
    (folder / "record.json").unlink()
    run(layout, experiment)
    assert json.loads((folder / "done.json").read_text())["reused"] is True
    assert contents(folder / "store.zarr") == store


def test_a_foreign_store_is_refused_by_readers_and_moved_aside_by_temper(
    copied: tuple[Layout, Experiment, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    layout, _, folder = copied
    old = contents(folder / "store.zarr")
    _, other = experiment_in(layout.results, seed=4, **SMALL)
    with pytest.raises(UserError, match="made from another configuration"):
        verify_replicas(folder / "store.zarr", other.reference_hash("blocks"))
    for _ in range(2):  # the second time there is a replicas.previous already
        run(layout, other)
        assert contents(folder.with_name("replicas.previous") / "store.zarr") == old
        verify_replicas(folder / "store.zarr", other.reference_hash("blocks"))
        printed = capsys.readouterr().err
    assert "moved to" not in printed
    _, third = experiment_in(layout.results, seed=5, **SMALL)
    run(layout, third)
    lines = [line for line in capsys.readouterr().err.splitlines() if "moved to" in line]
    assert lines == [f"{folder}: made from another configuration, moved to replicas.previous"]
    assert contents(folder.with_name("replicas.previous") / "store.zarr") != old


@pytest.mark.parametrize("array", ["x", "V", "level", "complete"])
def test_a_truncated_chunk_is_named_and_temper_mends_it(
    array: str, copied: tuple[Layout, Experiment, Path]
) -> None:
    layout, experiment, folder = copied
    store = folder / "store.zarr"
    before = contents(store)
    name = f"{array}/c/0/1/2" + ("/0" if array == "x" else "")
    chunk = store / name
    chunk.write_bytes(chunk.read_bytes()[:-10])
    with pytest.raises(UserError, match=f"{name}.* damaged") as refused:
        verify_replicas(store, experiment.reference_hash("blocks"))
    assert "\n" not in str(refused.value)
    run(layout, experiment)
    assert contents(store) == before


@pytest.mark.parametrize("name", ["x/c/0/0/0/0", "complete/c/0/1/1", "swap_acceptance/c/0/0"])
def test_a_missing_chunk_is_named(name: str, copied: tuple[Layout, Experiment, Path]) -> None:
    _, experiment, folder = copied
    (folder / "store.zarr" / name).unlink()
    with pytest.raises(UserError, match=f"chunk {name} is missing"):
        verify_replicas(folder / "store.zarr", experiment.reference_hash("blocks"))


def test_an_unfinished_or_absent_store_is_refused(
    copied: tuple[Layout, Experiment, Path], tmp_path: Path
) -> None:
    _, experiment, folder = copied
    metadata = folder / "store.zarr" / "zarr.json"
    rewrite(metadata, metadata.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(UserError, match="incomplete"):
        verify_replicas(folder / "store.zarr", experiment.reference_hash("blocks"))
    with pytest.raises(UserError, match="no Zarr store"):
        verify_replicas(tmp_path / "nowhere.zarr")


@pytest.mark.parametrize("messages", [6, 30, 60])
def test_an_interrupted_run_continues_from_its_checkpoint(
    messages: int, complete: tuple[Layout, Experiment, Path], tmp_path: Path
) -> None:
    layout, experiment = experiment_in(tmp_path, checkpoint_seconds=0, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        temper.run(layout, experiment, "blocks", communicator=Interrupted(messages))
    folder = layout.reference("blocks").replicas
    (folder / "left.1234.partial").write_text("half a chunk")
    run(layout, experiment)
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] > 0
    assert contents(folder / "store.zarr") == contents(complete[2] / "store.zarr")
    assert sorted(file.name for file in folder.iterdir()) == [
        ".done.json.sha256",
        ".record.json.sha256",
        ".store.zarr.sha256",
        "done.json",
        "record.json",
        "store.zarr",
    ]


def test_a_checkpoint_without_its_store_starts_anew(
    complete: tuple[Layout, Experiment, Path], tmp_path: Path
) -> None:
    layout, experiment = experiment_in(tmp_path, checkpoint_seconds=0, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        temper.run(layout, experiment, "blocks", communicator=Interrupted(70))
    folder = layout.reference("blocks").replicas
    (folder / "store.zarr").rename(tmp_path / "lost")
    run(layout, experiment)
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] == 0
    assert contents(folder / "store.zarr") == contents(complete[2] / "store.zarr")
