"""Commands of Python in forks of one process that has imported the libraries already.

Importing torch or Snakemake takes longer than most of what tests ask of them. A fork is a process
of its own all the same: its exit code, output, folder and environment are those of a command.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

__all__ = ["SNAKEMAKE", "run_forked"]

SNAKEMAKE = (
    *("snakemake.cli", "snakemake.workflow", "snakemake_interface_report_plugins.registry"),
    *("smart_open", "jeffreysflow.config", "jeffreysflow.report.figures.bead_densities"),
)
"""What a run of Snakemake imports first."""

_SERVER = """
import importlib, json, os, runpy, signal, sys, traceback

def work(asked):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY), number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    first, *rest = asked["arguments"]
    code = 0
    try:
        if first == "-m":
            sys.argv = [rest[0], *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *rest]
            sys.path.insert(0, os.path.dirname(first))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as error:
        code = error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)

for line in sys.stdin:
    asked = json.loads(line)
    for module in asked["preload"]:
        importlib.import_module(module)
    child = os.fork()
    if child == 0:
        work(asked)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _server() -> subprocess.Popen[str]:
    # no folder shadows a module, and no thread is there to be lost in a fork
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    atexit.register(process.kill)
    return process


def run_forked(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] = os.environ,
    preload: Sequence[str] = (),
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """What ``python *arguments`` does, with a script or ``-m module`` first; the modules to
    ``preload`` stay for the next one.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        out.touch()
        err.touch()
        asked = {
            "arguments": arguments,
            "cwd": str(cwd),
            "env": dict(env),
            "preload": preload,
            "out": str(out),
            "err": str(err),
        }
        print(json.dumps(asked), file=server.stdin, flush=True)
        child = server.stdout.readline()
        assert child, "the process that forks has ended"
        if not select.select([server.stdout], [], [], timeout)[0]:
            os.killpg(int(child), signal.SIGKILL)
            server.stdout.readline()
            raise subprocess.TimeoutExpired(arguments, timeout, out.read_bytes(), err.read_bytes())
        code = server.stdout.readline()
        return subprocess.CompletedProcess(arguments, int(code), out.read_text(), err.read_text())
