"""The stage `beads`: quantum averages for any number of beads from the low modes of a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jeffreysflow.analysis.bead_sums import BeadSums, bead_sums
from jeffreysflow.analysis.bead_table import BeadTable
from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_bare_potential, counted
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import BeadRow, BeadTruthRow, read_table, write_table
from jeffreysflow.streams import Stream

__all__ = ["independent_parts", "run"]

_GROUPS = 32
"""Parts that errors come from, where samples are independent: neither scrambled sequences nor
islands."""


def independent_parts(attributes: Mapping[str, Any], n: int) -> int:
    """How many parts of ``n`` generated samples, of a store with these attributes, are independent.

    >>> independent_parts({"islands": 16}, 1000), independent_parts({}, 1000)
    (16, 32)
    """
    given = attributes.get("scramblings") or attributes.get("islands")
    return int(given or min(_GROUPS, n))


def run(layout: Layout, experiment: Experiment, flow: str) -> None:
    """Write `beads.csv` of a flow: at every N its low modes, with the modes above them drawn anew
    and the action of all N beads in the weights; and the limit of infinitely many beads.

    Raises
    ------
    UserError : no path integral, or a store or table is missing, foreign or damaged.
    """
    ring = experiment.path_integral
    if ring is None:
        raise UserError(f"{experiment.name}: has no path_integral, so no beads")
    files, hash = layout.flow(flow), experiment.generation_hash(flow)
    read_record(files.generated / "done.json", hash)
    store = open_ensemble(files.generated / "store.zarr", "generated", hash)
    bare = build_bare_potential(experiment)
    measured, V = build_measured(experiment, bare), counted(bare)
    groups = independent_parts(store.attributes, len(store))
    size = len(store) // groups
    progress = Progress(groups * len(ring.beads), f"beads {experiment.name}/{flow}", "groups")
    sums: dict[int, list[BeadSums]] = {beads: [] for beads in ring.beads}
    for group in range(groups):
        low = store.samples(group * size, (group + 1) * size)
        for beads in ring.beads:
            stream = Stream(experiment.seed, experiment.name, flow, "beads", beads, group)
            sums[beads].append(bead_sums(V, ring, measured, low, beads, stream))
            progress.update(sum(map(len, sums.values())))
    progress.close()
    table = BeadTable(V, ring.beta, measured, read_table(layout.bead_truth, BeadTruthRow))
    for beads, of_beads in sums.items():
        table.add(beads, of_beads)
    table.add_limit()
    write_table(files.beads, BeadRow, table.rows)
