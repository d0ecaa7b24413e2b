"""One writer a folder: what a killed workflow left running must not meet the run that follows."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from jeffreysflow.errors import UserError

__all__ = ["SoleWriter"]


class SoleWriter:
    """Hold a folder for oneself; waits, with one line, while another process holds it.

    The operating system gives the lock back when its process ends, however it ends. On a file
    system without locks the folder is used without one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / ".lock").open("w")
        except OSError as error:
            raise UserError(f"{self._folder}: cannot write there: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"{self._folder}: another process works on it, waiting for it to end",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError:
            pass
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
