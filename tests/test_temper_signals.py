"""`temper` and the signals that batch systems send before they end a job."""

import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from jeffreysflow.processes import SignalledError, signals_kept
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.communicator import SerialCommunicator
from tempering_cases import contents, experiment_in
from test_temper_ranks import launch_temper, wait_for_checkpoint


class Signalled(SerialCommunicator):
    """The group of one, which gets a signal at its third agreement."""

    def __init__(self, number: int) -> None:
        self.number, self.agreements = number, 0

    def all_gather(self, value):
        if isinstance(value, tuple):
            self.agreements += 1
            if self.agreements == 3:
                os.kill(os.getpid(), self.number)
        return [value]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    layout, experiment = experiment_in(tmp_path_factory.mktemp("one"))
    temper.run(layout, experiment, "blocks", communicator=SerialCommunicator())
    return store(layout)


def store(layout: Layout) -> dict[str, bytes]:
    return contents(layout.reference("blocks").replicas / "store.zarr")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_and_says_so_in_one_line(
    number: signal.Signals,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # no checkpoint but the one that the signal asks for
    layout, experiment = experiment_in(tmp_path, checkpoint_seconds=1000)
    before = signal.getsignal(number)
    with pytest.raises(SignalledError):
        temper.run(layout, experiment, "blocks", communicator=Signalled(number))
    assert signal.getsignal(number) == before
    folder = layout.reference("blocks").replicas
    assert not (folder / "done.json").exists()
    saved = max(int(file.parent.name) for file in folder.glob("checkpoint/*/record.json"))
    assert 0 < saved < 240
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"stopped by {number.name} at round {saved} of 240; the same command goes on from there"
    )
    temper.run(layout, experiment, "blocks", communicator=SerialCommunicator())
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] == saved
    assert store(layout) == undisturbed


def test_signals_are_kept_only_meanwhile() -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    try:
        with signals_kept() as kept:
            assert kept() == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert kept() == signal.SIGTERM
            assert not received
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [True]
        with signals_kept() as kept:
            assert kept() == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_sets_no_handler() -> None:
    found = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with signals_kept() as kept:
            found.append((kept(), signal.getsignal(signal.SIGTERM) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(0, True)]


@pytest.mark.mpi
@pytest.mark.parametrize("whom", ["the launcher", "one rank"])
def test_a_signal_stops_all_ranks_and_another_number_goes_on(
    whom: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    layout, _ = experiment_in(tmp_path, checkpoint_seconds=0.02)
    first = launch_temper(2, layout)
    wait_for_checkpoint(layout, first, after=0)
    ranks = [
        child
        for child in psutil.Process(first.pid).children(recursive=True)
        if "mpi4py" in child.cmdline()
    ]
    assert len(ranks) == 2
    target = psutil.Process(first.pid) if whom == "the launcher" else ranks[1]
    target.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 143, errors
    lines = [line for line in errors.splitlines() if line.startswith("stopped by SIGTERM")]
    assert len(lines) == 1, errors
    folder = layout.reference("blocks").replicas
    saved = max(int(file.parent.name) for file in folder.glob("checkpoint/*/record.json"))
    assert f"at round {saved} of 240" in lines[0]
    second = launch_temper(3, layout)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] == saved
    assert store(layout) == undisturbed
