"""The number of coordinates of an experiment before its energy is imported."""

from __future__ import annotations

import re
from pathlib import Path

from jeffreysflow.config.experiment import Experiment

__all__ = ["likely_dimension"]

_ENERGIES = Path(__file__).parents[1] / "potentials" / "energies"
_UNKNOWN_DIMENSION = 16
_UNKNOWN_ATOMS = 100
_COUNT = re.compile(r"d|n|dim|dims|dimensions?|(n_|num_|number_of_)\w+|particles|atoms|spins|sites")


def likely_dimension(experiment: Experiment) -> int:
    """The number of coordinates that are sampled, as far as an experiment tells without its energy.

    From a name that ends in it (`rastrigin_8d`), `_DIMENSION = ...` in the file of an energy of the
    package or `dimension = ...` in the user's, a parameter that counts (`n`, `particles`), the
    base, the atoms of a molecule, and the highest coordinate of an expression. Two for other
    energies of the package, 16 for a user's file without a sign; of a path integral, the modes that
    flows act on.
    """
    potential, ring = experiment.potential, experiment.path_integral
    base = (experiment.base.mean, experiment.base.sd)
    hints = [len(value) for value in base if isinstance(value, list)]
    if potential.structure is not None:
        hints.append(3 * (potential.structure.atoms or _UNKNOWN_ATOMS))
    elif potential.name is not None:
        named = re.search(r"_(\d+)d$", potential.name)
        file = _ENERGIES / f"{potential.name}.py"
        hints.append(int(named.group(1)) if named else _written_dimension(file) or 2)
    else:
        hints.append(_written_dimension(Path(potential.file or "")) or _UNKNOWN_DIMENSION)
    expressions = [
        *experiment.observables,
        *experiment.regions.values(),
        *(profile.expression for profile in experiment.profiles),
        *(part for view in experiment.views for part in view),
    ]
    hints += [int(number) for text in expressions for number in re.findall(r"\bx(\d+)\b", text)]
    hints += [
        value
        for key, value in potential.parameters.items()
        if type(value) is int and _COUNT.fullmatch(key)
    ]
    d = max(hints)
    return d if ring is None else d * ring.modes


def _written_dimension(file: Path) -> int | None:
    pattern = re.compile(r"^(?:dimension|_DIMENSION)\s*(?::[^=]*)?=\s*(\d+)", re.MULTILINE)
    try:
        found = pattern.search(file.read_text())
    except (OSError, UnicodeDecodeError):
        found = None
    return int(found.group(1)) if found else None
