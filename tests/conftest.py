"""Tests that take longest come first, and what they write stays in memory where there is enough.

No core waits for a long test in the end then, nor any test for a disk.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from forked import forking_python

collect_ignore = ["fork_client.py", "fork_server.py"]
"""Scripts, which do their work when they are imported."""

LONGEST = (
    *("test_temper_ranks", "test_benchmarks", "test_beads", "test_temper_signals"),
    *("test_elsewhere", "test_workflow", "test_box_run", "test_kinds_of_energy", "test_distill"),
    *("test_tempering", "test_replicas", "test_rank_device", "test_data_parallel"),
    *("test_workflow_pilot", "test_training_memory", "test_learned_weights", "test_figures"),
    "test_molecule_runs",
)

MEMORY, ENOUGH = Path("/dev/shm"), 2**31
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture
def _forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts a process of Python by ``sys.executable`` forks one instead."""
    monkeypatch.setattr(sys, "executable", forking_python())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
