"""What an experiment asks of its energy that the energy cannot give, before any work."""

from __future__ import annotations

from collections.abc import Callable

from jeffreysflow.config import Experiment, SamplesConfig
from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.loss import USUAL_LOSS
from jeffreysflow.config.reference import FixedLadder, ReferenceConfig, SuggestedLadder
from jeffreysflow.errors import UserError
from jeffreysflow.launch.flow_settings import loss_of, rejuvenation_kernel
from jeffreysflow.potentials import Potential
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.potentials.potential import require
from jeffreysflow.tempering.adaptation import LEAST_WARMUP, adapts
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel, kernel_class, kernel_names
from jeffreysflow.tempering.kernels.exact_map import ExactMap
from jeffreysflow.tempering.minibatches import check_minibatch, check_minibatches
from jeffreysflow.tempering.swap_rule import get_swap_rule

__all__ = ["check_capabilities"]


def check_capabilities(experiment: Experiment, target: Potential) -> None:
    """Kernels, flows and path integrals against the derivatives that the energy has.

    Raises
    ------
    UserError : one needs more; or a kernel that must be exact is not.
    """
    for name, reference in experiment.references.items():
        if isinstance(reference, SamplesConfig):
            continue
        section = reference.kernel
        kernel = get_kernel(section.name, **section.parameters)
        where = f"references.{name}.kernel"
        if isinstance(kernel, ExactMap):
            _check_exact_map(f"references.{name}", reference, target)
        if kernel.gradients:
            instead = (
                f"kernels without: {_names(lambda each: _is_exact(each) and not each.gradients)}"
            )
            require(target, 1, f"{where}: '{section.name}'", instead)
        if section.metric != "unit" and not kernel.exact:
            raise UserError(
                f"{where}.metric: '{section.metric}' would change what the biased kernel "
                f"'{section.name}' samples; kernels with a metric: "
                f"{_names(_is_exact)}"
            )
        _check_minibatches(f"references.{name}", reference, kernel, target)
    for name, flow in experiment.flows.items():
        _check_flow(f"flows.{name}", flow, target)
        for end in flow.parts[1:]:
            _check_loss(f"flows.{name}.last_level", end, target)


def _check_exact_map(where: str, section: ReferenceConfig, target: Potential) -> None:
    if target.exact_inputs is None:
        raise UserError(f"{where}.kernel: 'exact_map': the energy has no exact map")
    if section.path != "annealed" or not (
        isinstance(section.ladder, FixedLadder) and len(section.ladder.values) == 2
    ):
        raise UserError(
            f"{where}.ladder: kernel 'exact_map' draws at lambda = 1 alone, on the annealed path; "
            "allowed: {kind: fixed, values: [0, 1]}"
        )


def _check_minibatches(
    where: str, section: ReferenceConfig, kernel: Kernel, target: Potential
) -> None:
    rule = get_swap_rule(section.swap_rule.name, **section.swap_rule.parameters)
    try:
        check_minibatches(kernel, rule, target.terms)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if kernel.minibatch is not None:
        _require_terms(f"{where}.kernel: '{kernel.name}'", target)
    if rule.measures is not None and not adapts(section.warmup_rounds):
        raise UserError(
            f"{where}.warmup_rounds: swap rule '{rule.name}' measures its noise in at least "
            f"{LEAST_WARMUP} rounds of warm-up, found {section.warmup_rounds}"
        )
    if (
        rule.measures is not None
        and isinstance(section.ladder, SuggestedLadder)
        and not adapts(section.ladder.pilot_rounds // 2)
    ):
        raise UserError(
            f"{where}.ladder.pilot_rounds: swap rule '{rule.name}' measures its noise in at least "
            f"{LEAST_WARMUP} rounds, the first half of the pilot's; found "
            f"{section.ladder.pilot_rounds}"
        )


def _require_terms(what: str, target: Potential) -> None:
    """
    Raises
    ------
    UserError : single terms of a finite sum have no gradients, whatever the whole sum has.
    """
    if isinstance(target, FiniteSum) and target.term_derivatives < 1:
        raise UserError(
            f"{what} needs gradients of single terms, which energy_terms has not: write it in torch"
        )


def _check_flow(where: str, flow: FlowConfig, target: Potential) -> None:
    learned = flow.residual_weights.items()
    for key, terms in (
        ("training", flow.training.terms),
        *((f"residual_weights.{name}", section.terms) for name, section in learned),
    ):
        if terms is not None:
            check_minibatch(f"{where}.{key}.terms", terms, target.terms)
            if key == "training":
                _require_terms(f"{where}.training.terms", target)
    kernel, key = rejuvenation_kernel(flow), f"{where}.rejuvenation_kernel"
    if not kernel.exact and flow.rejuvenation_step is None:
        raise UserError(
            f"{key}: '{kernel.name}' is biased and needs a rejuvenation_step; exact kernels: "
            f"{_names(_is_exact)}"
        )
    if kernel.minibatch is not None:
        check_minibatch(f"{key}: '{kernel.name}'", kernel.minibatch, target.terms)
        _require_terms(f"{key}: '{kernel.name}'", target)
    if flow.levels == "all":
        # between levels both divergences have the target's energy in them
        instead = "levels: last needs none"
        require(target, 1, f"{where}.levels: a flow a level", instead)
        if kernel.gradients and flow.rejuvenation_steps:
            require(target, 1, f"{key}: '{flow.rejuvenation_kernel}'")
    for part in flow.parts:
        _check_loss(where if part.network is flow.network else f"{where}.last_level", part, target)


def _check_loss(where: str, flow: FlowConfig, target: Potential) -> None:
    options = loss_of(flow, target.derivatives).options
    if any(option.descends for option in options):
        given = "loss" if flow.loss.kind != USUAL_LOSS else f"theta: {flow.theta}"
        require(target, 1, f"{where}.{given}", "theta 0 needs none")
    if flow.training.terms is not None and not all(option.linear for option in options):
        raise UserError(
            f"{where}.loss: '{flow.loss.kind}' is not linear in the energy, so that on the "
            f"mini-batches of training.terms its gradient is biased; allowed: {USUAL_LOSS}"
        )


def _is_exact(kernel: type[Kernel]) -> bool:
    return kernel.target_acceptance is not None


def _names(wanted: Callable[[type[Kernel]], bool]) -> str:
    classes = {name: kernel_class(name) for name in kernel_names()}
    return ", ".join(
        name for name, each in classes.items() if wanted(each) and each.local and not each.of_terms
    )
