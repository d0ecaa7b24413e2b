"""One experiment, resolved: a target, its references, its flows and what is estimated."""

from __future__ import annotations

from itertools import chain
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from jeffreysflow.config import hashes
from jeffreysflow.config.bias_parts import check_bias_parts
from jeffreysflow.config.display import ProfileConfig
from jeffreysflow.config.equal_weights import check_equal_weights
from jeffreysflow.config.expressions import check_expressions, check_regions
from jeffreysflow.config.fitted import LevelOfBase, check_fitted, fitted_to, level_for
from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.generation import GenerationConfig
from jeffreysflow.config.names import check_names
from jeffreysflow.config.path_integral import PathIntegralConfig, check_beside_paths
from jeffreysflow.config.plain import Paragraph
from jeffreysflow.config.potential import BaseConfig, PotentialConfig, TruthConfig
from jeffreysflow.config.reference import AnyReference, ReferenceConfig
from jeffreysflow.config.section import Section
from jeffreysflow.errors import UserError, allowed_names

__all__ = ["Device", "Experiment"]

Device = Literal["auto", "cpu", "cuda"]

_T = TypeVar("_T")


class Experiment(Section):
    """Everything that determines the numbers of one experiment."""

    name: str
    """Name of the experiment: the stem of its file."""
    title: str
    """One line for the report."""
    description: Paragraph = ""
    """A paragraph for the report."""
    scale: str
    """The scale that was chosen."""
    seed: int = Field(ge=0)
    """The one seed all random streams come from."""
    device: Device = "auto"
    """Where flows are trained: `auto` takes a GPU when there is one. References are tempered on the
    CPU, whatever it is, unless they say otherwise (`references: {name: {device: cuda}}`)."""
    potential: PotentialConfig
    """The target energy."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Hashes of the user's potential file and of all that it reads, by their paths from its folder:
    of Python that of its syntax tree, of data that of its bytes."""
    python: str | None = None
    """The version of Python that the syntax trees are of."""
    base: BaseConfig = BaseConfig()
    """The base distribution."""
    observables: list[str] = Field(default_factory=list)
    """Expressions in x1, x2, ... and U, e.g. `sin(x1)`; or names from the potential file."""
    profiles: list[ProfileConfig] = Field(default_factory=list)
    """Distributions of single observables; beside the exact ones by truth method `exact_map`."""
    regions: dict[str, str] = Field(default_factory=dict)
    """Regions by name, each a comparison, with `and`, `or` and `not`, e.g. `0 < x1 < 2.2`. Their
    populations and free energies are estimated, the latter above that of the first. A region that
    a flow and its reference disagree on, or that one of them never saw, is a grave doubt."""
    views: list[tuple[str, str]] = Field(default_factory=list)
    """Pairs of observables whose joint distribution is drawn, e.g. `[x1, x2]`."""
    truth: TruthConfig | None = None
    """How exact values are obtained."""
    path_integral: PathIntegralConfig | None = None
    """Makes the potential that of a ring polymer."""
    references: dict[str, AnyReference] = Field(min_length=1)
    """Tempering runs, or samples that are there already, by name."""
    flows: dict[str, FlowConfig] = Field(min_length=1)
    """Flows, by name."""
    generation: GenerationConfig = GenerationConfig()
    """What is generated from each flow."""
    bias_parts: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By the name of a chart what a bias is made of: its sources, each with the reference that has
    it beside those before; on one ladder, with `truth: {levels: true}`."""
    equal_weights: dict[str, list[str]] = Field(default_factory=dict)
    """Modes of equal probability that have all of it together, as the labels of equal parts give
    them: by the name of a table the observables that tell which mode a sample is in. Who finds
    other weights is not to be trusted."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        learned = chain.from_iterable(flow.residual_weights for flow in self.flows.values())
        check_names(self.name, [*self.references, *self.flows, *learned])
        ring = self.path_integral is not None
        check_fitted(self.base, self.references, self.flows, paths=ring)
        if self.path_integral is not None:
            check_beside_paths(self.base, self.truth)
        for name, reference in self.references.items():
            starts_from = reference.start if isinstance(reference, ReferenceConfig) else "base"
            if starts_from == "structure" and self.potential.structure is None:
                raise ValueError(f"references.{name}.start: structure is for a molecule only")
            structure = self.potential.structure
            told = getattr(reference, "temperature", None)
            if structure is not None and told not in (None, structure.temperature):
                raise ValueError(
                    f"references.{name}.temperature: that of the target, "
                    f"{structure.temperature:g} as in potential; found {told:g}"
                )
            if reference.target == "classical" and self.path_integral is None:
                raise ValueError(f"references.{name}.target: classical is for a path_integral only")
        for name, flow in self.flows.items():
            self._check_reference(name)
            steps = self.flow_steps(name)
            for quantity, values in flow.published_by_level.items():
                if values and steps is not None and len(values) != steps:
                    raise ValueError(
                        f"flows.{name}.published_by_level.{quantity}: {len(values)} values for "
                        f"{steps} levels"
                    )
        check_bias_parts(self.bias_parts, self.references, self.truth)
        check_equal_weights(self.equal_weights, self.observables)
        check_regions(self.regions, paths=ring)
        check_expressions("observables", self.observables)
        check_expressions("profiles", [profile.expression for profile in self.profiles])
        return self

    def _check_reference(self, name: str) -> None:
        """A flow is trained from a tempering run of at least two samples, one to test with, or from
        the ensembles of a flow before it.
        """
        earlier = list(self.flows)[: list(self.flows).index(name)]
        known = [*self.references, *earlier]
        found = self.flows[name].reference
        if found not in known:
            raise ValueError(
                f"flows.{name}.reference: unknown reference '{found}'; "
                f"{allowed_names(found, known)}"
            )
        if found in self.references and self.references[found].samples < 2:
            raise ValueError(
                f"flows.{name}.reference: '{found}' records one sample (1 walker, rounds / thin = "
                "1); allowed: at least 2"
            )
        if found in earlier and (self.flows[found].levels, self.flows[name].levels) == (
            "last",
            "all",
        ):
            raise ValueError(
                f"flows.{name}.reference: '{found}' has one level; a sequence is trained from the "
                "ensembles of one with `levels: all`, or this one has `levels: last`"
            )

    @property
    def base_reference(self) -> str | None:
        """The reference that the base is fitted to, where it is."""
        return fitted_to(self.base, self.references) if self.base.kind == "fitted" else None

    def base_level(self, flow: str) -> LevelOfBase:
        """The level that the base of a flow is fitted to, where it is."""
        return level_for(self.base, self.flow(flow))

    @property
    def base_levels(self) -> list[LevelOfBase]:
        """The levels that bases are fitted to; none where they are not."""
        return sorted({self.base_level(flow) for flow in self.flows}) if self.base_reference else []

    def base_is_at_hottest(self, reference: str) -> bool:
        """Whether a base is fitted to the first level of a reference."""
        return reference == self.base_reference and "first" in self.base_levels

    def tempered(self, flow: str) -> str:
        """The tempering reference at the root of a flow: its own, or that of the flow before."""
        name = self.flow(flow).reference
        return name if name in self.references else self.tempered(name)

    def generates(self, flow: str) -> bool:
        """Whether fresh samples are drawn from a flow (`FlowConfig.generate`)."""
        chosen = self.flow(flow).generate
        if chosen == "auto":
            # where a reference has the same name, it is what others are trained from
            return flow in self.references or all(
                other.reference != flow for other in self.flows.values()
            )
        return chosen

    @property
    def generating(self) -> list[str]:
        """The flows that fresh samples are drawn from."""
        return [name for name in self.flows if self.generates(name)]

    def is_classical(self, reference: str) -> bool:
        """Whether the levels are those of the classical limit, so that flows are to differ."""
        known = reference in self.references
        return known and self.references[reference].target == "classical"

    def reference(self, name: str) -> AnyReference:
        """A reference by name (UserError if there is none)."""
        return _named(self.references, name, f"{self.name}: unknown reference")

    def tempering(self, name: str) -> ReferenceConfig:
        """A reference that is a tempering run (UserError if there is none, or it is not)."""
        reference = self.reference(name)
        if not isinstance(reference, ReferenceConfig):
            raise UserError(
                f"{self.name}: references.{name} has samples that are there already; nothing is "
                "tempered"
            )
        return reference

    def flow(self, name: str) -> FlowConfig:
        """A flow by name (UserError if there is none)."""
        return _named(self.flows, name, f"{self.name}: unknown flow")

    def flow_steps(self, name: str) -> int | None:
        """How many levels a flow is distilled over; None before a pilot said so."""
        flow = self.flow(name)
        if flow.levels == "last":
            return 1
        reference = self.references[self.tempered(name)]
        if reference.path == "power":
            # the base is below all of its levels
            return reference.levels
        return None if reference.levels is None else reference.levels - 1

    def target_hash(self) -> str:
        """Hash of the energy and its base."""
        return hashes.target_hash(self)

    def reference_hash(self, name: str) -> str:
        """Hash of all that determines the bits of a reference."""
        return hashes.reference_hash(self, name)

    def pilot_hash(self, name: str) -> str:
        """Hash of all that determines the ladder a reference's pilot suggests."""
        return hashes.pilot_hash(self, name)

    def base_hash(self, level: LevelOfBase) -> str:
        """Hash of all that determines the base that is fitted to a level."""
        return hashes.base_hash(self, level)

    def flow_hash(self, name: str) -> str:
        """Hash of all that determines a trained flow (but the device)."""
        return hashes.flow_hash(self, name)

    def generation_hash(self, name: str) -> str:
        """Hash of all that determines the samples generated from a flow."""
        return hashes.generation_hash(self, name)

    def truth_hash(self) -> str:
        """Hash of all that determines the exact values."""
        return hashes.truth_hash(self)

    def bead_hash(self, name: str) -> str:
        """Hash of all that determines the averages over beads that a flow gives."""
        return hashes.bead_hash(self, name)

    def estimate_hash(self) -> str:
        """Hash of what is estimated and drawn, apart from the samples it comes from."""
        return hashes.estimate_hash(self)


def _named(sections: dict[str, _T], name: str, what: str) -> _T:
    if name not in sections:
        raise UserError(f"{what} '{name}'; {allowed_names(name, sections)}")
    return sections[name]
