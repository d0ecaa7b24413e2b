"""The stage `base`: fit a base to the samples of a reference, and weigh it on its own."""

from __future__ import annotations

import time
from typing import Any

import torch

from jeffreysflow.analysis.base_weights import weighed, worth
from jeffreysflow.config import Experiment
from jeffreysflow.config.fitted import LevelOfBase
from jeffreysflow.distillation.parts import of_walkers
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.fit_base import fit_base
from jeffreysflow.launch.couplings import couplings_of
from jeffreysflow.launch.target import build_potential, counted
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.fitted_bases import save_base
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.streams import Stream

__all__ = ["check_fitted_to", "run"]

_SAMPLES = 1 << 15


def run(layout: Layout, experiment: Experiment, level: LevelOfBase) -> None:
    """Write `base/<level>/base.safetensors`, and what its samples are worth without any flow.

    Raises
    ------
    UserError : no base is to be fitted to this level, its reference is missing, foreign or damaged,
        or a pair of coordinates is not on circles.
    """
    started = time.time()
    name = check_fitted_to(experiment, level)
    files, hash = layout.reference(name), experiment.base_hash(level)
    levels_hash = experiment.reference_hash(name)
    read_record(files.levels / "done.json", levels_hash)
    levels = open_levels(files.levels / "store.zarr", levels_hash)
    target, section = build_potential(experiment), experiment.base
    at = -1 if level == "last" else 0
    samples = levels.samples(at)
    parts = of_walkers(samples.x, levels.walkers)
    held_out = torch.cat([side for side in (parts.test, parts.watched) if side is not None])

    def stream(purpose: str) -> Stream:
        return Stream(experiment.seed, experiment.name, "base", level, purpose)

    base = fit_base(
        *(parts.training, held_out, target.domain, couplings_of(experiment, target.domain)),
        *(section.components, section.circle_components, stream),
    )
    facts: dict[str, Any] = {"held_out_log_density": float(-base.energy(held_out).mean())}
    facts |= _sizes(base)
    path = AnnealingPath(base, counted(target), power=True)
    facts |= weighed(path, float(levels.lam[at]), _SAMPLES, stream("weighed"))
    save_base(layout.base(level) / "base.safetensors", base, hash)
    write_record(layout.base(level) / "done.json", "base", hash, started, **facts)
    fitted = f"{experiment.name}/base: fitted to the {level} level of {name}"
    print(f"{fitted}; {worth(facts, _SAMPLES)}", flush=True)


def check_fitted_to(experiment: Experiment, level: LevelOfBase) -> str:
    """The reference to whose level a base is fitted.

    Raises
    ------
    UserError : none is.
    """
    name = experiment.base_reference
    if name is None:
        raise UserError(f"{experiment.name}: base.kind is not 'fitted', so that nothing is fitted")
    if level not in experiment.base_levels:
        raise UserError(
            f"{experiment.name}: no flow starts from a base fitted to the {level} level; allowed: "
            f"{', '.join(experiment.base_levels)}"
        )
    return name


def _sizes(base: FittedBase) -> dict[str, Any]:
    gaussians = 0 if base.lines is None else len(base.lines.weights)
    pairs = [[f"x{i + 1}" for i in group] for group in base.groups if len(group) > 1]
    waves = 0 if base.means is None else len(base.means.frequencies)
    return {"gaussians": gaussians, "waves": waves, "pairs": pairs}
