"""What this machine, or the part of it that we were given, has to offer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["free_disk_mb", "memory_limit_mb"]

_MB = 1 << 20
_GROUPS = Path("/sys/fs/cgroup")


def memory_limit_mb() -> float:
    """MiB that processes here may use together: the memory of the machine, the limit of the control
    group (version 1 or 2) that this process is in or one above it, or what Slurm has allocated.
    """
    return min(_limits(), default=float("inf"))


def _limits() -> Iterator[float]:
    with suppress(ValueError, OSError, AttributeError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _MB
    for file in _limit_files():
        try:
            yield int(file.read_text()) / _MB
        except (OSError, ValueError):
            continue  # "max", or no such group in this container
    allocated = os.environ.get("SLURM_MEM_PER_NODE", "")
    if allocated.isdecimal() and int(allocated) > 0:
        yield float(allocated)


def _limit_files() -> Iterator[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            root, name = _GROUPS / "memory", "memory.limit_in_bytes"
        elif controllers == "":
            root, name = _GROUPS, "memory.max"
        else:
            continue
        group = root / path.lstrip("/")
        # a container may see its own group as the root
        for place in (group, *group.parents):
            yield place / name
            if place == root:
                break


def free_disk_mb(folder: Path) -> float:
    """MiB that are free where a folder is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / _MB
