"""The report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.config.potential import BaseConfig
from jeffreysflow.config.reference import ReferenceConfig
from jeffreysflow.report.bead_tables import bead_table, path_table
from jeffreysflow.report.bias_parts import bias_parts_table
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.cost_tables import (
    NO_COMPARISON,
    cost_table,
    observable_cost_table,
    path_cost_table,
    verdicts,
)
from jeffreysflow.report.data import Results
from jeffreysflow.report.dimension_table import dimension_table
from jeffreysflow.report.equal_cost import equal_cost_note, equal_cost_table
from jeffreysflow.report.equal_weights import equal_weights_table
from jeffreysflow.report.flow_tables import flow_table, observable_table
from jeffreysflow.report.headline import headline_table
from jeffreysflow.report.learned_table import learned_table
from jeffreysflow.report.level_bias_table import level_bias_table
from jeffreysflow.report.numbers import duration
from jeffreysflow.report.provenance import (
    StageRecord,
    facts_by_source,
    last_finished,
    samples_a_second,
    stage_table,
    terms_of,
    versions,
    wall_seconds,
)
from jeffreysflow.report.random_weights import random_weights_table
from jeffreysflow.report.reference_table import reference_table
from jeffreysflow.report.region_table import region_table
from jeffreysflow.report.sequence_tables import level_table, sequence_table
from jeffreysflow.report.table import filled
from jeffreysflow.report.templates import inline, rendered_page

__all__ = ["Chapter", "Picture", "page"]


_AT_EQUAL_COST = "Estimates at equal cost"
_QUANTUM = "in one dimension: matrix multiplication at every N, diagonalisation for N → ∞"


class Picture(NamedTuple):
    """A figure on the page; ``section`` is where it stands."""

    name: str
    section: str
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Chapter:
    """One experiment of the page."""

    found: Results
    pictures: Sequence[Picture] = ()
    records: Sequence[StageRecord] = ()


def page(chapters: Sequence[Chapter]) -> str:
    """The page of all experiments of a run; it needs no other file and no network."""
    records = [record for chapter in chapters for record in chapter.records]
    first = chapters[0].found.experiment
    return rendered_page(
        "page.html",
        scale=first.scale,
        seed=first.seed,
        headline=filled(headline_table(chapter.found for chapter in chapters)),
        paths=filled(path_table(chapter.found for chapter in chapters)),
        dimensions=filled(
            dimension_table(
                (chapter.found, samples_a_second(chapter.records)) for chapter in chapters
            )
        ),
        sequences=filled(sequence_table(chapter.found for chapter in chapters)),
        chapters=[_content(chapter) for chapter in chapters],
        versions=versions(records),
        wall_time=duration(wall_seconds(records)),
        finished=last_finished(records),
    )


def _content(chapter: Chapter) -> dict[str, object]:
    """What the template shows of an experiment."""
    found, records = chapter.found, chapter.records
    experiment = found.experiment
    advice = facts_by_source(records, "gather", "advice")
    notes = facts_by_source(records, "gather", "notes")
    first_nan = {
        name: found[0] for name, found in facts_by_source(records, "temper", "first_nan").items()
    }
    skipped, training = (
        {flow: sum(each) for flow, each in facts_by_source(records, "distill", fact).items()}
        for fact in ("skipped", "train_seconds")
    )
    levels = {name: level_table(found, name) for name in experiment.flows}
    beads = {name: bead_table(found, name) for name in experiment.flows}
    observables = observable_table(found)
    sections = {
        "Bias at every level": level_bias_table(found, records),
        **{
            f"What the bias is made of: {name}": bias_parts_table(found, name)
            for name in experiment.bias_parts
        },
        "Learned weights": learned_table(found, records),
        _AT_EQUAL_COST: equal_cost_table(found, records),
        **{
            f"Modes of equal weight: {group}": equal_weights_table(found, group)
            for group in experiment.equal_weights
        },
        "Regions": region_table(found),
        "Weights of continuous flows": random_weights_table(found, records),
    }
    return {
        "experiment": experiment,
        "facts": _facts(found),
        "cautions": cautions(
            found, {name: chain(*lines) for name, lines in advice.items()}, skipped, first_nan
        ),
        "references": filled(reference_table(found, records)),
        "notes": {name: list(chain(*lines)) for name, lines in notes.items()},
        "flows": filled(flow_table(found, skipped, training, samples_a_second(records))),
        "levels": {name: filled(table) for name, table in levels.items() if table is not None},
        "beads": {name: filled(table) for name, table in beads.items() if table is not None},
        "sections": {title: filled(table) for title, table in sections.items() if table},
        "section_notes": {_AT_EQUAL_COST: equal_cost_note(found, records)},
        "observables": None if observables is None else filled(observables),
        "pictures": [{**picture._asdict(), **inline(picture.svg)} for picture in chapter.pictures],
        "cost": _cost(found, records),
        "stages": stage_table(records),
        "wall_time": duration(wall_seconds(records)),
        "configuration": experiment.model_dump_json(indent=2),
    }


def _cost(found: Results, records: Sequence[StageRecord]) -> dict[str, object]:
    """What it cost, and from how many effective samples on a flow is the cheaper way."""
    tables = {name: observable_cost_table(found, records, name) for name in found.experiment.flows}
    paths = path_cost_table(found, records)
    return {
        "verdicts": verdicts(found, records),
        "parts": filled(cost_table(found, records)),
        "observables": {name: filled(table) for name, table in tables.items() if table},
        "paths": None if paths is None else filled(paths),
        "no_comparison": NO_COMPARISON,
        "evaluation": _evaluation(terms_of(records), paths is not None),
    }


def _evaluation(terms: int | None, paths: bool) -> str:
    """What is counted as one, in words."""
    whole = "V at one bead" if paths else "the energy"
    if terms is None:
        return f"one of {whole}"
    return f"one of a single component: {whole} is a sum of {terms:,} terms and counts as so many"


def _exact_values(found: Results) -> str:
    """How they were obtained; none where they were refused, or never asked for."""
    truth = found.experiment.truth
    if truth is None:
        return "none"
    known = any(row.exact is not None for rows in found.estimates.values() for row in rows)
    return _method(truth) if known else "none: the grid or its box does not hold the density"


def _method(truth: TruthConfig) -> str:
    if truth.method == "quadrature":
        return f"quadrature, {truth.points} points a coordinate"
    return f"exact map, {truth.samples:,} Sobol points in {truth.scramblings} scramblings"


def _base_fact(experiment: Experiment) -> str:
    """What flows start from; of a fitted base also what tempering starts from, where it does."""
    law, reference = _law(experiment.base), experiment.base_reference
    if reference is None:
        return law
    tempered = [
        each for each in experiment.references.values() if isinstance(each, ReferenceConfig)
    ]
    starts = any(each.start == "base" for each in tempered)
    fitted = f"fitted to the samples of {reference}"
    return f"{fitted}; tempering starts from {law}" if starts else fitted


def _law(base: BaseConfig) -> str:
    law = f"mean {base.mean}, sd {base.sd}"
    if base.tails is not None:
        law = f"Student's t of dof {base.tails:g}, location {base.mean}, scale {base.sd}"
    text = f"{law} where Euclidean; uniform where periodic or between walls"
    if base.walls == "truncated":
        text = f"{law} where Euclidean, uniform where periodic; Gaussian, cut off, between walls"
    return text


def _facts(found: Results) -> dict[str, str]:
    experiment = found.experiment
    potential, truth = experiment.potential, experiment.truth
    ring = experiment.path_integral
    parameters = ", ".join(f"{key} = {value}" for key, value in potential.parameters.items())
    generation, sampling = experiment.generation, experiment.generation.sampling
    how = f"{generation.base_points} points"
    if sampling.kind != "importance":
        how = f"samples by {sampling.kind} in {sampling.islands} islands,"
    samples = f"{generation.samples:,} {how} "
    drawn = experiment.generating
    every = len(drawn) == len(experiment.flows)
    samples += "a flow" if every else f"from {', '.join(drawn)}"
    facts = {"energy": " ".join(filter(None, [potential.name or potential.title, parameters]))}
    if ring is not None:
        numbers = ", ".join(map(str, ring.beads))
        facts |= {
            "path integral": f"β = {ring.beta:g}; flows act on {ring.modes} normal modes, trained "
            f"on the action of {ring.action_beads} beads",
            "paths": f"{numbers} beads; modes above those of the flow: {ring.added_modes}",
            "base": "normal modes of paths in x²/2",
            "exact values": "none" if truth is None else _QUANTUM,
        }
        return {**facts, "generated": samples}
    return {
        **facts,
        "base": _base_fact(experiment),
        "exact values": _exact_values(found),
        "generated": samples,
    }
