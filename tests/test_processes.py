"""What ends together, and what goes on alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from jeffreysflow.processes import PARENT, descendants

STAGE = """
import time
from jeffreysflow.processes import end_with_the_workflow
end_with_the_workflow()
print("at work", flush=True)
time.sleep(60)
"""

WORKFLOW = """
import subprocess, sys, time
from jeffreysflow.processes import stop_jobs_when_told_to
stop_jobs_when_told_to()
job = subprocess.Popen(["bash", "-c", "sleep 60 | cat"], start_new_session=True)
try:
    print("started", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    job.wait()
    print("stopped", flush=True)
"""


def started(code: str, said: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == said
    return process


def jobs_of(workflow: int, names: set[str]) -> list[psutil.Process]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        jobs = [psutil.Process(child) for child in descendants(workflow)]
        if {job.name() for job in jobs} >= names:
            return jobs
        time.sleep(0.02)
    raise AssertionError(f"no {names} within 30 s")


@pytest.fixture
def workflow():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_stage_ends_with_its_workflow(workflow: subprocess.Popen[bytes]) -> None:
    stage = started(STAGE, "at work", **{PARENT: f"{workflow.pid}@{socket.gethostname()}"})
    assert stage.poll() is None
    workflow.kill()
    workflow.wait()
    _, errors = stage.communicate(timeout=30)
    assert stage.returncode == 143
    assert errors == "stopped: what started this process has ended\n"


@pytest.mark.parametrize("host", ["another-host", ""])
def test_a_workflow_on_another_host_is_none_of_ours(
    workflow: subprocess.Popen[bytes], host: str
) -> None:
    stage = started(STAGE, "at work", **{PARENT: f"{workflow.pid}@{host}"})
    workflow.kill()
    workflow.wait()
    with pytest.raises(subprocess.TimeoutExpired):
        stage.wait(timeout=1.5)
    stage.kill()


def test_a_stage_of_a_workflow_that_has_ended_already_ends() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    stage = subprocess.run(
        [sys.executable, "-c", STAGE],
        env={**os.environ, PARENT: f"{gone.pid}@{socket.gethostname()}"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert stage.returncode == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_workflow_that_is_told_to_stop_stops_its_jobs(number: signal.Signals) -> None:
    process = started(WORKFLOW, "started")
    jobs = jobs_of(process.pid, {"bash", "sleep", "cat"})
    assert {job.pid for job in jobs} == {
        child.pid for child in psutil.Process(process.pid).children(recursive=True)
    }
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert out == "stopped\n"
    until = time.monotonic() + 10
    while any(job.is_running() and job.status() != psutil.STATUS_ZOMBIE for job in jobs):
        assert time.monotonic() < until
        time.sleep(0.02)


IN_C = """
import ctypes, signal, threading, time
from jeffreysflow.processes import end_with_the_workflow
signal.signal(signal.SIGINT, signal.default_int_handler)
end_with_the_workflow()
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
library.pthread_mutex_init(mutex, None)
library.pthread_mutex_lock(mutex)

def say():
    time.sleep(1)
    print(signal.getsignal(signal.SIGINT), flush=True)

threading.Thread(target=say).start()
library.pthread_mutex_lock(mutex)
"""


def test_a_rank_that_waits_inside_a_library_ends_by_ctrl_c() -> None:
    """As one does in MPI_Init whose fellows have ended; Python alone would wait on."""
    process = started(IN_C, str(signal.SIG_DFL), PMI_RANK="0")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT


def test_a_stage_alone_is_interrupted_as_python_does_it() -> None:
    process = started(IN_C, str(signal.default_int_handler))
    process.kill()
    process.wait()
