"""What is to be known of weights that have something random: cost and variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.extended import ExtendedTarget
from jeffreysflow.distillation.generating import measured_excess
from jeffreysflow.flows.integrated import IntegratedFlow
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_potential
from jeffreysflow.stores.tables import REGION
from jeffreysflow.streams import Stream

__all__ = ["weight_facts"]

_SAMPLES = 256


def weight_facts(
    experiment: Experiment,
    flow: str,
    flows: Sequence[TransportMap],
    target: ExtendedTarget,
    samples: int,
) -> dict[str, Any]:
    """Facts of the record of ``samples`` samples: none where no map is a velocity.

    ``estimate`` of the Jacobian, whether its weights are ``unbiased``, and where they are not
    whether all that is biased is ``corrected``; ``passes``, velocities a
    sample, a derivative along a direction as one more; at what share of samples weights have an
    ``infinite_variance``; ``excess``, the variance of log weights
    beyond that of exact ones, with ``excess_error``, and by the name of an event or region how much
    larger it is there than elsewhere, ``excess_between``, with ``excess_between_error``; and of how
    many events and regions, or of what is left without them, too few samples were met to tell,
    ``excess_between_rare``.
    """
    integrated = [each for each in flows if isinstance(each, IntegratedFlow)]
    if not integrated:
        return {}
    facts: dict[str, Any] = {
        "estimate": ", ".join(dict.fromkeys(each.jacobian.kind for each in integrated)),
        "unbiased": all(each.unbiased for each in integrated),
        "corrected": all(each.jacobian.corrected for each in integrated if not each.unbiased),
        "passes": sum(each.evaluations for each in integrated) / samples,
        "infinite_variance": max(each.jacobian.infinite_variance for each in integrated),
    }
    stream = Stream(experiment.seed, experiment.name, flow, "generate", "excess")
    excess = measured_excess(target, min(_SAMPLES, max(samples, 2)), stream)
    if excess is None:
        return facts
    measured = build_measured(experiment, build_potential(experiment))
    values = measured.values_where_finite(excess.x.cpu(), excess.U.cpu())
    named = [
        *zip(measured.observables, measured.of_observables(values.T), strict=True),
        *zip(measured.regions, measured.of_regions(values.T), strict=True),
    ]
    # of a function that has a name only its values tell whether it is an event; before they are
    # weighed or moved samples may be where one is not defined
    between = {
        each.name.removeprefix(REGION): excess.between(column.bool().to(excess.each.device))
        for each, column in named
        if bool(((column == 0) | (column == 1)).all())
    }
    known = {name: found for name, found in between.items() if found is not None}
    return {
        **facts,
        "excess": excess.mean,
        "excess_error": excess.error,
        "excess_between": {name: found.difference for name, found in known.items()},
        "excess_between_error": {name: found.error for name, found in known.items()},
        "excess_between_rare": len(between) - len(known),
    }
