"""Stands for a fork: `fork_client.py <socket> <interpreter> <command> <arguments>` hands over its
arguments, folder, environment and open files, passes signals on and ends as the fork does.
"""

import json
import os
import signal
import socket
import sys

FORKED = ("-c", "-m")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def open_files() -> list[int]:
    found = []
    for number in range(250):
        try:
            if os.get_inheritable(number):
                found.append(number)
        except OSError:
            continue
    return found


def end_as(code: int) -> None:
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> None:
    place, interpreter, command, *arguments = sys.argv[1:]
    files = open_files()
    server = socket.socket(socket.AF_UNIX)
    try:
        if not arguments or (arguments[0][:1] == "-" and arguments[0] not in FORKED):
            raise OSError("neither code nor a module nor a script")
        server.connect(place)
    except OSError:
        os.execv(interpreter, [interpreter, *arguments])
    asked = {
        "command": command,
        "arguments": arguments,
        "cwd": os.getcwd(),
        "env": dict(os.environ),
        "files": files,
        "ignored": [n for n in PASSED_ON if signal.getsignal(n) == signal.SIG_IGN],
    }
    text = json.dumps(asked).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "big")], files)
    server.sendall(text)
    answers = server.makefile()
    fork = int(answers.readline())
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: os.kill(fork, number))
    ended = answers.readline()
    end_as(int(ended) if ended else -signal.SIGKILL)


main()
