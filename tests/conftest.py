"""The files that take longest come first, so that no core waits for one of them in the end."""

from __future__ import annotations

import sys

import pytest

from forked import forking_python

collect_ignore = ["fork_client.py", "fork_server.py"]
"""Scripts, which do their work when they are imported."""

LONGEST = (
    *("test_temper_ranks", "test_benchmarks", "test_beads", "test_temper_signals"),
    *("test_elsewhere", "test_workflow", "test_box_run", "test_kinds_of_energy", "test_distill"),
    *("test_tempering", "test_replicas", "test_rank_device", "test_data_parallel"),
    *("test_workflow_pilot", "test_training_memory", "test_learned_weights", "test_figures"),
)


@pytest.fixture
def _forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts a process of Python by ``sys.executable`` forks one instead."""
    monkeypatch.setattr(sys, "executable", forking_python())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
