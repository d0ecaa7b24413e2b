"""Completion records, progress lines, and one writer a folder."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jeffreysflow.errors import UserError
from jeffreysflow.progress import Progress
from jeffreysflow.stores import completion
from jeffreysflow.stores.completion import is_complete, read_record, write_record
from jeffreysflow.stores.locking import SoleWriter
from seal_cases import rewrite


def test_a_completion_record_tells_stage_hash_and_versions(tmp_path: Path) -> None:
    file = tmp_path / "stage" / "done.json"
    write_record(file, "gather", "abc", time.time() - 2.0, draws=7)
    record = read_record(file, "abc")
    assert record["stage"] == "gather"
    assert record["draws"] == 7
    assert 2.0 <= record["wall_seconds"] < 10
    assert record["versions"]["torch"]
    assert sorted(file.parent.iterdir()) == [file.with_name(".done.json.sha256"), file]


def test_a_missing_foreign_or_damaged_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "done.json"
    with pytest.raises(UserError, match=r"incomplete, done\.json is missing"):
        read_record(file)
    write_record(file, "gather", "abc", time.time())
    with pytest.raises(UserError, match=r"another configuration \(hash abc, expected def\)"):
        read_record(file, "def")
    assert is_complete(file, "abc")
    assert not is_complete(file, "def")
    rewrite(file, "{")
    with pytest.raises(UserError, match="not a completion record"):
        read_record(file)


def test_other_versions_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(completion, "_said", set())
    file = tmp_path / "done.json"
    write_record(file, "gather", "abc", time.time())
    read_record(file, "abc")
    assert capsys.readouterr().err == ""
    record = json.loads(file.read_text())
    record["versions"]["torch"] = "1.0"
    rewrite(file, json.dumps(record))
    for _ in range(2):
        read_record(file, "abc")
    assert capsys.readouterr().err.count("made with torch 1.0, this is") == 1


def test_progress_in_a_log_is_plain_lines_with_rate_and_time_left() -> None:
    log = io.StringIO()
    progress = Progress(10, "train x", stream=log, log_seconds=0.0)
    time.sleep(0.01)
    progress.update(5, loss=1.25)
    progress.close()
    first, last = log.getvalue().splitlines()
    assert first.startswith("train x: 5/10 steps (50 %), ")
    assert "/s, 0:00 left  loss 1.25" in first
    assert last.startswith("train x: 5/10")
    assert "\r" not in log.getvalue()


def test_progress_of_other_ranks_is_silent() -> None:
    log = io.StringIO()
    progress = Progress(10, "x", stream=log, enabled=False, log_seconds=0.0)
    progress.update(5)
    progress.close()
    assert log.getvalue() == ""


HOLD = """
import sys, time
from pathlib import Path
from jeffreysflow.stores.locking import SoleWriter
with SoleWriter(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_second_writer_waits_and_a_killed_one_leaves_no_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def holder(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    first = holder(0.5)
    with SoleWriter(tmp_path):
        assert first.wait(timeout=60) == 0
    assert "another process works on it" in capsys.readouterr().err
    second = holder(600)
    second.kill()
    second.wait(timeout=60)
    with SoleWriter(tmp_path):
        pass
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/results: cannot write there"):
        SoleWriter(tmp_path / "file" / "results").__enter__()
