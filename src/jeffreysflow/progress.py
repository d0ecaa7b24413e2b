"""Progress of long work: one line rewritten on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Counts towards ``total`` and prints done, rate and time left.

    On a terminal the line is rewritten at most five times a second; elsewhere a new line appears
    every ``log_seconds``. ``enabled=False`` keeps quiet (ranks other than 0).
    """

    def __init__(
        self,
        total: int,
        what: str,
        unit: str = "steps",
        *,
        enabled: bool = True,
        done: int = 0,
        stream: TextIO | None = None,
        log_seconds: float = 10.0,
    ) -> None:
        self._total, self._what, self._unit = total, what, unit
        self._enabled = enabled
        self._start_done = self._done = done
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = 0.2 if self._terminal else log_seconds
        self._started = time.monotonic()
        self._last = self._started

    def update(self, done: int, **numbers: float) -> None:
        """Say that ``done`` of the total are done; ``numbers`` are printed behind."""
        self._done = done
        now = time.monotonic()
        if self._enabled and (now - self._last >= self._interval):
            self._last = now
            self._write(now, numbers)

    def close(self, **numbers: float) -> None:
        """Print the last line."""
        if self._enabled:
            self._write(time.monotonic(), numbers)
            if self._terminal:
                self._stream.write("\n")
                self._stream.flush()

    def _write(self, now: float, numbers: dict[str, float]) -> None:
        elapsed = max(now - self._started, 1e-9)
        rate = (self._done - self._start_done) / elapsed
        left = (self._total - self._done) / rate if rate > 0 else float("inf")
        shown = "".join(f"  {name} {value:.4g}" for name, value in numbers.items())
        share = 100 * self._done / max(self._total, 1)
        line = (
            f"{self._what}: {self._done}/{self._total} {self._unit} ({share:.0f} %), "
            f"{rate:.3g}/s, {_clock(left)} left{shown}"
        )
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
