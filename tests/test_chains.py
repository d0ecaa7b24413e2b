"""What is waited for longest goes first."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.config import Project, experiment_file, resolve_experiment
from jeffreysflow.config.chains import levels_waiting, levels_waiting_for

ROOT = Path(__file__).parents[1]


def resolved(name: str):
    return resolve_experiment(experiment_file(name, ROOT), Project(experiments=[name]))


def test_a_sequence_that_others_are_trained_from_goes_before_single_flows() -> None:
    quantum, wells = resolved("quantum_double_well"), resolved("three_well")
    # nine levels above, then the second pass's own last level, then the flow from its ensemble
    assert levels_waiting(quantum, "first", 1) == 9 + 1 + 1
    assert levels_waiting(quantum, "second", 10) == 1
    assert levels_waiting(quantum, "direct", 1) == 0
    assert levels_waiting_for(quantum, "classical") == 12
    assert levels_waiting(wells, "coarse-0.50", 1) == 0
    assert levels_waiting_for(wells, "tempered") == 1


def test_a_flow_that_shares_the_name_of_a_reference_is_waited_for_by_nobody() -> None:
    solvated = resolved("solvated_16d")
    assert levels_waiting(solvated, "published", 31) == 0
    # before the pilot nobody knows
    assert levels_waiting(solvated, "suggested", 1) == 9
