"""What each stage depends on, as hashes: what has another one is made again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from jeffreysflow.config.bias_parts import fixed_levels
from jeffreysflow.config.samples_reference import SamplesConfig

if TYPE_CHECKING:
    from jeffreysflow.config.experiment import Experiment
    from jeffreysflow.config.fitted import LevelOfBase
    from jeffreysflow.config.flow import FlowConfig

__all__ = [
    "FORMAT",
    "FORMAT_OF_BASES",
    "FORMAT_OF_CHAINS",
    "FORMAT_OF_CLUSTERS",
    "FORMAT_OF_ESTIMATES",
    "FORMAT_OF_IMPORTS",
    "FORMAT_OF_MOLECULES",
    "FORMAT_OF_PARTICLES",
    "FORMAT_OF_PROGRAMS",
    "FORMAT_OF_VELOCITIES",
    "base_hash",
    "bead_hash",
    "estimate_hash",
    "flow_hash",
    "generation_hash",
    "pilot_hash",
    "reference_hash",
    "target_hash",
    "truth_hash",
]

_NOT_TARGET = {"beads", "added_modes", "published_distance"}
"""Of a path integral: what is done with a flow, not what it is trained for."""

_NOT_TRAINED: dict[str, Any] = {
    "generate": True,
    "published": True,
    "published_by_level": True,
    "network": {"file": True, "weights": True},
}
"""Of a flow: what is done with it, or known of it, and where files lie."""

_OF_PILOT = {
    *("path", "target", "kernel", "ladder", "tile", "device", "local_steps", "swap"),
    *("swap_rule", "redraw_base"),
}
"""Of a reference: what its pilot depends on."""

FORMAT = 16
"""Raised when code changes the bits or the meaning of a store, so that older ones are refused."""
FORMAT_OF_MOLECULES = 2
"""The same, for what only molecules see,"""
FORMAT_OF_PROGRAMS = 1
"""for energies that another program computes,"""
FORMAT_OF_IMPORTS = 3
"""for references from samples that are there already,"""
FORMAT_OF_CLUSTERS = 2
"""for flows whose directions are drawn by clusters,"""
FORMAT_OF_VELOCITIES = 4
"""for maps that are a velocity,"""
FORMAT_OF_PARTICLES = 1
"""for velocities that look at pairs,"""
FORMAT_OF_BASES = 1
"""for a fitted base, and how it was weighed,"""
FORMAT_OF_CHAINS = 2
"""for samples of Metropolis chains and of sequential Monte Carlo,"""
FORMAT_OF_ESTIMATES = 5
"""and for what is estimated and judged from stores, which are not made again for it."""


def target_hash(experiment: Experiment) -> str:
    """Hash of the energy and its base."""
    ring = experiment.path_integral
    return _hash(
        {
            "format": FORMAT,
            "potential": experiment.potential.hashed(),
            "sources": experiment.sources,
            "python": experiment.python,
            "base": experiment.base.hashed(),
        }
        | ({"molecules": FORMAT_OF_MOLECULES} if experiment.potential.structure else {})
        | ({"programs": FORMAT_OF_PROGRAMS} if experiment.potential.through_program else {})
        | ({} if ring is None else {"path_integral": ring.model_dump(exclude=_NOT_TARGET)})
    )


def reference_hash(experiment: Experiment, name: str) -> str:
    """Hash of all that determines the bits of a reference."""
    section = experiment.reference(name)
    imported = {"imports": FORMAT_OF_IMPORTS} if isinstance(section, SamplesConfig) else {}
    return _hash(
        {
            "target": target_hash(experiment),
            "experiment": experiment.name,
            "name": name,
            "seed": experiment.seed,
            "reference": section.hashed(),
        }
        | imported
    )


def pilot_hash(experiment: Experiment, name: str) -> str:
    """Hash of all that determines the ladder a reference's pilot suggests."""
    section = experiment.tempering(name).model_dump(include=_OF_PILOT)
    return _hash(
        {
            "target": target_hash(experiment),
            "experiment": experiment.name,
            "name": name,
            "seed": experiment.seed,
            "pilot": section,
        }
    )


def base_hash(experiment: Experiment, level: LevelOfBase) -> str:
    """Hash of all that determines the base that is fitted to a level."""
    name = experiment.base_reference
    assert name is not None
    return _hash(
        {
            "format": FORMAT_OF_BASES,
            "reference": reference_hash(experiment, name),
            "fit": experiment.base.fit(level),
            "seed": experiment.seed,
        }
    )


def flow_hash(experiment: Experiment, name: str) -> str:
    """Hash of all that determines a trained flow (but the device)."""
    flow, base = experiment.flow(name), {}
    if experiment.base_reference:
        base = {"base": base_hash(experiment, experiment.base_level(name))}
    return _hash(
        {
            "reference": _reference_or_flow_hash(experiment, flow.reference),
            "name": name,
            "flow": _trained(flow),
        }
        | base
    )


def _reference_or_flow_hash(experiment: Experiment, name: str) -> str:
    known = name in experiment.references
    return reference_hash(experiment, name) if known else flow_hash(experiment, name)


def generation_hash(experiment: Experiment, name: str) -> str:
    """Hash of all that determines the samples generated from a flow."""
    section = experiment.generation.model_dump(exclude={"convergence"})
    if experiment.generation.sampling.kind != "importance":
        section["sampling"]["format"] = FORMAT_OF_CHAINS
    return _hash({"flow": flow_hash(experiment, name), "generation": section})


def truth_hash(experiment: Experiment) -> str:
    """Hash of all that determines the exact values."""
    section = None if experiment.truth is None else experiment.truth.model_dump()
    ring = experiment.path_integral
    return _hash(
        {
            "target": target_hash(experiment),
            "truth": section,
            "observables": experiment.observables,
            "profiles": [profile.model_dump(exclude={"kind"}) for profile in experiment.profiles],
        }
        | ({} if ring is None else {"beads": ring.beads})
        | ({"regions": experiment.regions} if experiment.regions else {})
        | (
            {"levels": fixed_levels(experiment.references)}
            if experiment.truth and experiment.truth.levels
            else {}
        )
    )


def bead_hash(experiment: Experiment, name: str) -> str:
    """Hash of all that determines the averages over beads that a flow gives."""
    section = experiment.path_integral
    ring = None if section is None else section.model_dump(exclude={"published_distance"})
    return _hash(
        {
            "generation": generation_hash(experiment, name),
            "ring": ring,
            "truth": truth_hash(experiment),
        }
    )


def estimate_hash(experiment: Experiment) -> str:
    """Hash of what is estimated and drawn, apart from the samples it comes from."""
    ring = experiment.path_integral
    return _hash(
        {
            "format": FORMAT_OF_ESTIMATES,
            "truth": truth_hash(experiment),
            "convergence": experiment.generation.convergence,
            "views": experiment.views,
            "generating": experiment.generating,
            "bias_parts": experiment.bias_parts,
            "equal_weights": experiment.equal_weights,
            "profiles": [profile.kind for profile in experiment.profiles],
            "published": [
                {name: reference.published for name, reference in experiment.references.items()},
                {
                    name: flow.model_dump(include={"published", "published_by_level"})
                    for name, flow in experiment.flows.items()
                },
            ]
            + ([] if ring is None else [ring.published_distance]),
        }
    )


def _trained(flow: FlowConfig) -> dict[str, Any]:
    """All that determines a training; what was no choice once is not said where it is off."""
    section = flow.model_dump(exclude=_NOT_TRAINED)
    if not flow.training.clip_energy:
        del section["training"]["clip_energy"]
    if flow.training.source == "ensemble":
        del section["training"]["source"]
    if flow.last_level is None:
        del section["last_level"]
    for part in (section, section.get("last_level", {})):
        jacobian = part.get("network", {}).get("jacobian")
        if jacobian:
            part["network"]["format"] = FORMAT_OF_VELOCITIES
        if jacobian and part["network"].get("velocity") == "particles":
            jacobian["particles"] = FORMAT_OF_PARTICLES
        if jacobian and jacobian["parameters"].get("clusters"):
            jacobian["format"] = FORMAT_OF_CLUSTERS
    return section


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
