"""Configuration of a tempering reference."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from jeffreysflow.config.kernels import checked_kernel, checked_swap_rule
from jeffreysflow.config.published import OF_REFERENCE, check_published
from jeffreysflow.config.samples_reference import SamplesConfig
from jeffreysflow.config.section import Section

__all__ = [
    "KINDS",
    "REFERENCE_TAGS",
    "AdaptiveLadder",
    "AnyReference",
    "FixedLadder",
    "GeometricLadder",
    "KernelConfig",
    "LadderConfig",
    "ReferenceConfig",
    "SuggestedLadder",
    "SwapRuleConfig",
    "TemperatureLadder",
    "TileConfig",
]


class KernelConfig(Section):
    """The local move of every replica."""

    name: str = "mala"
    """Name of a kernel: `mala`, `hmc` (exact), `slice`, `random_walk` (exact, and without
    gradients), `ula`, `heun`, `tamed` (biased on purpose); for an energy that is a finite sum, of
    which they see mini-batches, `sgld`, `tamed_sgld` (biased) and `delayed_acceptance` (exact); and
    `exact_map`, independent samples of an energy that has one."""
    step_size: float = Field(default=0.1, gt=0)
    """Step size h (of the leapfrog for `hmc`, the width of an interval for `slice`); where it
    adapts, only its start."""
    scaling: Literal["constant", "inverse"] = "constant"
    """Start of the step size along the ladder: the same at all levels, or h / lambda."""
    adapt: bool = True
    """Adapt the step size of each level in warm-up (kernels with an accept step only)."""
    target_acceptance: float | None = Field(default=None, gt=0, lt=1)
    """Acceptance to adapt to; the kernel's own optimum when left out."""
    metric: Literal["unit", "diagonal"] = "unit"
    """Step sizes of the coordinates of a level: all the same, or `diagonal`, in proportion to how
    far samples spread there, found in warm-up (kernels with an accept step whose steps adapt)."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the kernel, e.g. `leapfrog_steps` of `hmc`."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return checked_kernel(name)


class SwapRuleConfig(Section):
    """How a swap of two samples is decided."""

    name: str = "exact"
    """Name of a swap rule: `exact`, or for an energy that is a finite sum, of which they see a
    mini-batch, `naive` (biased) and `penalty` (corrected for its noise)."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the rule, e.g. `tau` of `penalty`."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return checked_swap_rule(name)


class FixedLadder(Section):
    """Lambda values given one by one."""

    kind: Literal["fixed"] = "fixed"
    """Values given one by one."""
    values: list[float] = Field(min_length=2)
    """Strictly increasing, the last 1, the first 0 (annealed path) or above 0 (power path)."""


class GeometricLadder(Section):
    """Lambda values in geometric progression."""

    kind: Literal["geometric"] = "geometric"
    """A geometric progression from `first` to 1 (after lambda = 0 on the annealed path)."""
    first: float = Field(gt=0, lt=1)
    """The lowest positive lambda."""
    levels: int = Field(ge=2, le=10_000)
    """Number of positive levels, `first` and 1 included."""


class AdaptiveLadder(Section):
    """Lambda values that equalise the rejection of swaps, found in warm-up."""

    kind: Literal["adaptive"] = "adaptive"
    """Starts crowded at 0 and is moved to equal shares of the communication barrier in warm-up."""
    levels: int = Field(ge=2, le=10_000)
    """Number of positive levels."""
    largest_step: float = Field(default=1.0, gt=0, le=1)
    """Largest distance of neighbours. Swaps do not ask for it, but flows may: between separated
    modes they move no mass, and the variance of those weights grows with the square of a step."""

    @model_validator(mode="after")
    def _steps_reach_one(self) -> Self:
        if self.levels * self.largest_step < 1:
            raise ValueError(
                f"{self.levels} levels with a largest_step of {self.largest_step} do not reach 1"
            )
        return self


class SuggestedLadder(Section):
    """As many lambda values as the communication barrier asks for, found by a short pilot run."""

    kind: Literal["suggested"] = "suggested"
    """A pilot measures the barrier Lambda, which says how many; adapted further in warm-up."""
    levels_per_barrier: float = Field(default=2.0, gt=0)
    """Positive levels a unit of Lambda: 2 is best for swaps (rejection of about one half), flows
    that carry an ensemble from level to level may ask for more."""
    max_levels: int = Field(default=40, ge=2, le=10_000)
    """Positive levels of the pilot, and the most that it may suggest."""
    largest_step: float = Field(default=1.0, gt=0, le=1)
    """Largest distance of neighbours, as for `adaptive`; it may ask for more levels."""
    pilot_walkers: int = Field(default=100, ge=2)
    """Walkers of the pilot."""
    pilot_rounds: int = Field(default=400, ge=2)
    """Swap rounds of the pilot; its ladder adapts in the first half, Lambda is from the second."""

    @model_validator(mode="after")
    def _steps_reach_one(self) -> Self:
        if self.max_levels * self.largest_step < 1:
            raise ValueError(
                f"max_levels {self.max_levels} with a largest_step of {self.largest_step} do not "
                "reach 1"
            )
        return self


class TemperatureLadder(Section):
    """Temperatures from the hottest one to that of the target, on the power path: lambda is the
    target's temperature over the level's."""

    kind: Literal["temperatures"] = "temperatures"
    """Temperatures in geometric progression, moved to equal shares of the communication barrier in
    warm-up."""
    hottest: float = Field(gt=1)
    """The highest temperature in units of the target's."""
    levels: int = Field(ge=2, le=10_000)
    """Number of temperatures, both ends included."""
    adapt: bool = True
    """Move those between in warm-up; false: they stay in geometric progression."""


LadderConfig = Annotated[
    FixedLadder | GeometricLadder | AdaptiveLadder | SuggestedLadder | TemperatureLadder,
    Field(discriminator="kind"),
]


class TileConfig(Section):
    """The unit of work that ranks share out; its shape never depends on their number."""

    walkers: int | None = Field(default=None, ge=1)
    """Walkers a tile; by default as many as make about 8,000 rows."""
    replicas: int | None = Field(default=None, ge=1)
    """Replicas a tile; by default all."""


class ReferenceConfig(Section):
    """One parallel-tempering run. A reference may be imperfect on purpose."""

    kind: Literal["tempering"] = "tempering"
    """A tempering run."""
    path: Literal["annealed", "power"] = "annealed"
    """`annealed`: (1 - lambda) U_0 + lambda U_M; `power`: lambda U_M, the target at other
    temperatures, without a base (of curved coordinates, lambda U_M - log|det|)."""
    target: Literal["potential", "classical"] = "potential"
    """U_M: the potential; or of a path integral its `classical` limit, in which V acts on the
    centroid alone and all other modes are free."""
    kernel: KernelConfig = KernelConfig()
    """The local move."""
    ladder: LadderConfig
    """The lambda values."""
    start: Literal["base", "structure"] = "base"
    """Where replicas start: at samples of the base, or near the reference structure of a molecule
    (on the power path), where a large one would meet itself otherwise."""
    walkers: int = Field(ge=1)
    """Independent ladders that run side by side."""
    tile: TileConfig = TileConfig()
    """The unit of work."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where replicas live and move. `cuda` is for energies that are dear, written in torch, and for
    large tiles (`tile: {walkers: 100000}`); many small tiles are faster on the ranks of a CPU. The
    project's `device`, which is that of the flows, has no say in it: bits differ between kinds of
    device, so that this one belongs to what a reference is."""
    warmup_rounds: int = Field(ge=0)
    """Swap rounds before recording; step sizes and ladder adapt here and are frozen afterwards."""
    rounds: int = Field(ge=1)
    """Swap rounds after warm-up."""
    thin: int = Field(default=1, ge=1)
    """Record every n-th of them."""
    local_steps: int = Field(default=10, ge=1)
    """Local moves between swaps."""
    swap: Literal["deo", "seo"] = "deo"
    """Even and odd pairs in turn (`deo`) or at random (`seo`)."""
    swap_rule: SwapRuleConfig = SwapRuleConfig()
    """How each swap is decided."""
    redraw_base: bool = True
    """On the annealed path, draw replicas at lambda = 0 afresh from the base every round; false:
    the kernel moves them as it does all others."""
    checkpoint_seconds: float = Field(default=120.0, ge=0)
    """Seconds between checkpoints; has no influence on results."""
    published: dict[str, float] = Field(default_factory=dict)
    """Published values to print beside ours, by quantity."""

    @model_validator(mode="after")
    def _ladder_fits_path(self) -> Self:
        if isinstance(self.ladder, FixedLadder):
            values = self.ladder.values
            found = f"found {values}"
            if any(b <= a for a, b in pairwise(values)):
                raise ValueError(f"ladder.values must increase strictly, {found}")
            if values[-1] != 1.0:
                raise ValueError(f"ladder.values must end at 1, {found}")
            if self.path == "annealed" and values[0] != 0.0:
                raise ValueError(f"ladder.values must start at 0 on the annealed path, {found}")
            if self.path == "power" and values[0] <= 0.0:
                raise ValueError(f"ladder.values must start above 0 on the power path, {found}")
        if self.path == "power" and isinstance(self.ladder, AdaptiveLadder | SuggestedLadder):
            raise ValueError("the power path takes a fixed or geometric ladder, or temperatures")
        if self.path == "annealed" and isinstance(self.ladder, TemperatureLadder):
            raise ValueError("a ladder of temperatures belongs to path: power")
        if self.start == "structure" and self.path == "annealed":
            raise ValueError("start: structure belongs to path: power")
        check_published(self.published, OF_REFERENCE, "published")
        if self.rounds // self.thin < 1:
            raise ValueError(f"no round is recorded: thin {self.thin} > rounds {self.rounds}")
        return self

    @property
    def samples(self) -> int:
        """Recorded samples of each level."""
        return self.walkers * (self.rounds // self.thin)

    @property
    def levels(self) -> int | None:
        """Number of levels, lambda = 0 included where there is one; None before a pilot said so."""
        if isinstance(self.ladder, SuggestedLadder):
            return None
        if isinstance(self.ladder, FixedLadder):
            return len(self.ladder.values)
        return self.ladder.levels + (1 if self.path == "annealed" else 0)

    @property
    def most_levels(self) -> int:
        """Number of levels; of a ladder that a pilot suggests, the most there may be."""
        if isinstance(self.ladder, SuggestedLadder):
            return self.ladder.max_levels + 1
        assert self.levels is not None
        return self.levels

    @property
    def lambdas(self) -> tuple[float, ...] | None:
        """Of all levels, where they are fixed."""
        return tuple(self.ladder.values) if isinstance(self.ladder, FixedLadder) else None

    def hashed(self) -> dict[str, Any]:
        """All that determines the levels."""
        unsaid = {"start"} if self.start == "base" else set()
        return self.model_dump(exclude={"checkpoint_seconds", "published", "kind", *unsaid})


KINDS = ("tempering", "samples")
"""Of references; without one, it is a tempering run."""

_TEMPERING, _SAMPLES = "tempering run", "samples there already"
REFERENCE_TAGS = (_TEMPERING, _SAMPLES)
"""What pydantic adds to the place of a mistake; no name of a reference has a blank."""


def _tag(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return _SAMPLES if kind == "samples" else _TEMPERING


AnyReference = Annotated[
    Annotated[ReferenceConfig, Tag(_TEMPERING)] | Annotated[SamplesConfig, Tag(_SAMPLES)],
    Discriminator(_tag),
]
"""A tempering run, without a kind, or samples that are there already."""
