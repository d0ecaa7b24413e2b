"""The state of a training that has not ended: `training/attempt_<n>.safetensors` of a level."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.memory import TrainingMemory, TrainingState
from jeffreysflow.stores.sealed import DamagedError, read_sealed, write_sealed

__all__ = ["SavedTraining", "forget_trainings"]

_KEY = "jeffreysflow"


def _folder(level: Path) -> Path:
    return level / "training"


def _deaf() -> AbstractContextManager[Callable[[], int]]:
    return nullcontext(lambda: 0)


class SavedTraining(TrainingMemory):
    """Keeps the state of training ``attempt`` of a level every ``seconds``, and when it is told to
    stop: what ``listening`` yields is asked after every step, and if that is not 0, ``stop`` is
    called with it and the step when the state is safe.

    ``made_from`` is all that the training depends on: a state of anything else is not used.
    """

    def __init__(
        self,
        level: Path,
        attempt: int,
        made_from: str,
        seconds: float,
        listening: Callable[[], AbstractContextManager[Callable[[], int]]] = _deaf,
        stop: Callable[[int, int], None] = lambda why, step: None,
    ) -> None:
        self._file = _folder(level) / f"attempt_{attempt}.safetensors"
        self._made_from, self._seconds = made_from, seconds
        self._listening, self._stop = listening, stop
        self._last = time.monotonic()

    def __enter__(self) -> SavedTraining:
        self._held = ExitStack()
        self._why = self._held.enter_context(self._listening())
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def load(self) -> TrainingState | None:
        """The newest state; None where there is none, or one that cannot be used, which is said."""
        try:
            data = read_sealed(self._file)
            size = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
            if header["made_from"] != self._made_from:
                return None
            history = [HistoryRow(*row) for row in header["history"]]
            return TrainingState(len(history), load(data), history, header["evaluations"])
        except FileNotFoundError:
            return None
        except (DamagedError, SafetensorError, ValueError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            print(f"{self._file}: not used: {said}", file=sys.stderr, flush=True)
            return None

    def is_due(self) -> bool:
        return bool(self._why()) or time.monotonic() - self._last >= self._seconds

    def save(self, state: TrainingState) -> None:
        """Keep a state, and stop if that is asked for."""
        header = {
            "made_from": self._made_from,
            "evaluations": state.evaluations,
            "history": [list(row) for row in state.history],
        }
        tensors = {name: value.cpu().contiguous() for name, value in state.tensors.items()}
        write_sealed(self._file, save(tensors, metadata={_KEY: json.dumps(header)}))
        self._last = time.monotonic()
        if why := self._why():
            self._stop(why, state.step)


def forget_trainings(level: Path) -> None:
    """Remove what was kept of the trainings of a level that is complete."""
    shutil.rmtree(_folder(level), ignore_errors=True)
