"""A `python` whose processes are forks of one that has imported the libraries already.

Importing torch takes longer than most of what tests ask of a command. A fork is a process of its
own all the same: it has the arguments, folder, environment and open files of the command, whose
signals and end are its own. What the libraries do when they are imported is not seen anew.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["forking_path", "forking_python", "run_forked"]

HERE = Path(__file__).parent
TEMPORARY = tempfile.gettempdir()
"""Before any test has one of its own, which goes when it ends."""


@cache
def forking_python() -> str:
    """A command in place of ``sys.executable``, of which only ``-c``, ``-m`` and scripts are forks;
    it is named ``python`` and is alone in its folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="forked-", dir=TEMPORARY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    socket = folder / "socket"
    server = subprocess.Popen(
        # no folder shadows a module, and no thread is there to be lost in a fork
        [sys.executable, "-P", str(HERE / "fork_server.py"), str(socket)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    # in the reverse order; what it and its forks took is added to what this process did
    atexit.register(server.wait)
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline(), "the process that forks has ended"
    command = (sys.executable, "-IS", str(HERE / "fork_client.py"), str(socket), sys.executable)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$0" "$@"\n')
    python.chmod(0o755)
    return str(python)


def forking_path() -> str:
    """``PATH`` with that ``python`` first, then the ``mpiexec`` beside the interpreter."""
    folders = Path(forking_python()).parent, Path(sys.executable).parent, os.environ["PATH"]
    return os.pathsep.join(map(str, folders))


def run_forked(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """What ``python *arguments`` does, with a script, ``-c code`` or ``-m module`` first."""
    return subprocess.run(
        [forking_python(), *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
