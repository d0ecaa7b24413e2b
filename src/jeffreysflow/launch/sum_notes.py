"""What is worth saying of an energy that is a sum over data before it is used."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.errors import shown
from jeffreysflow.launch.target import build_potential
from jeffreysflow.potentials.user_sum import UserSum

__all__ = ["sum_notes"]


def sum_notes(experiment: Experiment) -> list[str]:
    """A sentence that counts the terms of a user's file, one with the names above a table, and one
    where its mini-batches are slow.

    Raises
    ------
    UserError : the energy cannot be built.
    """
    target = build_potential(experiment)
    if not isinstance(target, UserSum):
        return []
    notes = [f"a sum of {target.terms:,} terms"]
    if target.data is not None:
        rows, columns = target.data.shape
        notes = [f"a sum over data of {rows:,} rows and {columns} columns"]
    if target.header:
        notes.append(f"its first line, {shown(', '.join(target.header))}, is taken for names")
    if target.takes_own_terms is None:
        notes.append(
            "terms are hardly ever finite about 0, where it is tried whether energy_terms can give "
            "every sample terms of its own; mini-batches go one term at a time, slowly"
        )
    elif not target.takes_own_terms:
        notes.append(
            "energy_terms cannot give every sample terms of its own, so that mini-batches go one "
            "term at a time, slowly; it can with `rows[..., 0]` for `rows[:, 0]`, and `index` of "
            "any shape"
        )
    return notes
