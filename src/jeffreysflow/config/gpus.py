"""How many GPUs a job asks for."""

from __future__ import annotations

__all__ = ["gpus_asked"]


def gpus_asked(device: str, processes: int, here: int | None) -> int:
    """GPUs for what ``processes`` work at, a flow or a reference, on a machine that has ``here`` of
    them; None where jobs run elsewhere, on machines of which only the user knows what they have.

    ``device`` is that of the project for a flow, and its own for a reference. Where there are fewer
    than processes, these share them.

    >>> gpus_asked("auto", 2, here=8), gpus_asked("auto", 2, here=1), gpus_asked("auto", 2, None)
    (2, 1, 0)
    >>> gpus_asked("cuda", 2, None)
    2
    """
    if device == "cpu":
        return 0
    if here is None:
        return processes if device == "cuda" else 0
    return min(processes, here)
