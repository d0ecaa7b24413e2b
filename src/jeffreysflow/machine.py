"""What this machine, or the part of it that we were given, has to offer."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Card", "cards", "free_disk_mb", "memory_limit_mb", "torch_has_cuda"]

_MB = 1 << 20
_GROUPS = Path("/sys/fs/cgroup")
_DRIVER = Path("/proc/driver/nvidia/gpus")
_UUID = re.compile(r"\b(?:GPU|MIG)-[\w/-]+")
_SECONDS = 60.0


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
    """MiB that are free where a folder is, or would be made, and those that it holds."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    held = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                held += os.lstat(os.path.join(path, name)).st_size
    return (shutil.disk_usage(place).free + held) / _MB


def torch_has_cuda() -> bool:
    """Whether the PyTorch that is installed was built for GPUs of NVIDIA, found without it."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text()
    except OSError:
        return True
    said = re.search(r"^cuda\b[^=]*=\s*(.+)$", text, re.MULTILINE)
    return said is None or said.group(1).strip() != "None"


class Card(NamedTuple):
    """A GPU, or a part of one that is a device of its own: ``name`` as CUDA_VISIBLE_DEVICES takes
    it, and ``uuid``, which is the same however it is named.
    """

    name: str
    uuid: str


def cards() -> list[Card]:
    """The GPUs of NVIDIA that a process here may use, found without any library: those that
    `nvidia-smi` lists, or without it the driver, and of these the ones that CUDA_VISIBLE_DEVICES
    names, where it is set.
    """
    found = _uuids()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [Card(uuid, uuid) for uuid in found]
    named = []
    for name in map(str.strip, visible.split(",")):
        if name.isdecimal():
            uuids = found[int(name) : int(name) + 1]
        else:
            uuids = [uuid for uuid in found if name and uuid.startswith(name)][:1]
        if not uuids:
            break  # as CUDA does, which sees none of those that follow either
        named.append(Card(name, uuids[0]))
    return named


def _uuids() -> list[str]:
    """Of each GPU, or where one is divided of each of its instances."""
    found: list[str] = []
    for line in _listed():
        for uuid in _UUID.findall(line):
            if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
                found.pop()
            found.append(uuid)
    return found


def _listed() -> list[str]:
    try:
        command = ["nvidia-smi", "-L"]
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        return said.stdout.splitlines() if said.returncode == 0 else []
    except FileNotFoundError:
        pass
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines: list[str] = []
    for file in sorted(_DRIVER.glob("*/information")):
        with suppress(OSError):
            lines += file.read_text().splitlines()
    return lines
