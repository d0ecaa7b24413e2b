"""Forks itself for each command that `fork_client.py` hands over: `fork_server.py <socket>`."""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types

LIBRARIES = (
    *("torch", "torch._dynamo", "scipy.signal", "scipy.stats", "arviz_stats.base", "zarr"),
    *("matplotlib.figure", "matplotlib.backends.backend_pdf", "mpi4py", "mpi4py.run", "smart_open"),
    *("snakemake.cli", "snakemake.workflow", "snakemake_interface_report_plugins.registry"),
    *("jeffreysflow.commands", "jeffreysflow.report.figures.bead_densities"),
)


def received(connection: socket.socket) -> tuple[dict, list[int]]:
    connection.setblocking(True)
    head, files, _, _ = socket.recv_fds(connection, 8, 253)
    length, text = int.from_bytes(head, "big"), b""
    while len(text) < length:
        text += connection.recv(length - len(text))
    return json.loads(text), files


def become(asked: dict, files: list[int]) -> None:
    """Take the files, folder and environment of the command."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in asked["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 300) for file in files]
    os.closerange(0, 300)
    for file, number in zip(high, asked["files"], strict=True):
        os.dup2(file, number, inheritable=True)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    tempfile.tempdir = None
    sys.executable = asked["command"]


def work(arguments: list[str], safe: bool) -> int:
    """What the interpreter does with its arguments: the exit code."""
    try:
        run(arguments, safe)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> None:
    """What the interpreter does in the end, but for the memory, which is the system's again."""
    if "mpi4py.MPI" in sys.modules:
        # ends MPI, or all ranks, when the interpreter itself does
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


def run(arguments: list[str], safe: bool) -> None:
    first, *rest = arguments
    folder = "" if first == "-c" else os.getcwd() if first == "-m" else os.path.dirname(first)
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [place for place in named if place and place not in sys.path]
    if not safe:
        sys.path.insert(0, folder)
    if first == "-m":
        sys.argv = [rest[0], *rest[1:]]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def next_command(place: str) -> dict:
    """Serve until the process that started this one ends; returns in each fork."""
    parent = os.getppid()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    woken, wake = socket.socketpair()
    for each in (woken, wake):
        each.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print("ready", flush=True)
    running: dict[int, socket.socket] = {}
    orphans: set[int] = set()
    while os.getppid() == parent:
        clients = [running[process] for process in running.keys() - orphans]
        ready, _, _ = select.select([listening, woken, *clients], [], [], 1)
        if woken in ready:
            woken.recv(4096)
        for process in list(running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                connection = running.pop(process)
                orphans.discard(process)
                told(connection, os.waitstatus_to_exitcode(status))
                connection.close()
            elif running[process] in ready and process not in orphans:
                # the client is no more
                orphans.add(process)
                os.killpg(process, signal.SIGKILL)
        if listening in ready:
            connection, _ = listening.accept()
            asked, files = received(connection)
            process = os.fork()
            if process == 0:
                # their numbers become those of other files
                for each in (listening, woken, wake, connection, *running.values()):
                    each.detach()
                become(asked, files)
                return asked
            for file in files:
                os.close(file)
            running[process] = connection
            told(connection, process)
    for process in running:
        os.killpg(process, signal.SIGKILL)
    sys.exit()


def told(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(f"{number}\n".encode())


for name in LIBRARIES:
    importlib.import_module(name)
gc.collect()
gc.freeze()
command = next_command(sys.argv[1])
code = work(command["arguments"], bool(command["env"].get("PYTHONSAFEPATH")))
end(code)
