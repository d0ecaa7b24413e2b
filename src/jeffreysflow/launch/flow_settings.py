"""What the configuration of a flow asks for, as distillation takes it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.integration import OwnVelocity
from jeffreysflow.config.loss import USUAL_LOSS
from jeffreysflow.distillation.loss import Loss, check_map_of_loss, get_loss
from jeffreysflow.distillation.parts import finishing_rows
from jeffreysflow.distillation.residual import ResidualSettings
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.integrated import IntegratedFlow, refuse_bounded
from jeffreysflow.flows.map import build_map, check_map
from jeffreysflow.flows.maps.torch import OwnFlow
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel

__all__ = ["check_flow", "level_settings", "level_streams", "loss_of", "rejuvenation_kernel"]

_LEAPFROG_STEPS = 20


def check_flow(section: FlowConfig, base: Base, *, fitted: bool = False) -> None:
    """``base``, or one like it in the place of one that is ``fitted`` later.

    Raises
    ------
    UserError : a setting that its map or its loss does not take, a loss that is not for such a map,
        a map that comes trained for levels that it is none of, or a velocity that cannot be built
        for samples of ``base``, or whose weights learn from more samples than there are.
    """
    flow = check_map(section.network.kind, section.network.settings)
    loss = loss_of(section)
    if not flow.is_trained:
        check_map_of_loss(loss, flow, section.network.kind)
    if flow.is_trained and section.levels != "last":
        raise UserError(
            f"map {section.network.kind!r} carries the base to the target; allowed: levels: last, "
            f"found {section.levels}"
        )
    if flow.has_velocity:
        # its files are read, and all that it is made of is found by name
        built = _built(section, base, fitted=fitted)
        if built.components:
            _check_components(section, base, fitted=fitted)
        rows = finishing_rows(section.ensemble, section.islands)
        if built.jacobian.fewest > rows:
            raise UserError(
                f"{built.jacobian.kind} learns from {rows} samples, half of an ensemble of "
                f"{section.ensemble} and 4096 at most, and needs {built.jacobian.fewest} or more"
            )


def _built(section: FlowConfig, base: Base, *, fitted: bool) -> IntegratedFlow:
    network = section.network
    if fitted and isinstance(network, OwnVelocity):
        # where its samples are is not known yet: files and settings alone
        refuse_bounded(network.kind, spline_box(base))
        return OwnFlow(base.dimension, **network.settings)
    if fitted and getattr(network, "velocity", None) == "particles":
        raise UserError(
            "velocity 'particles' needs a base of one mean and sd for all coordinates, which a "
            "fitted one has not"
        )
    built = build_map(network.kind, network.settings, spline_box(base), base, Stream(0))
    assert isinstance(built, IntegratedFlow)
    return built


def _check_components(section: FlowConfig, base: Base, *, fitted: bool) -> None:
    """
    Raises
    ------
    UserError : a map that begins with Gaussians does not begin at the base, or at one that is not
        normal, or its loss is for other paths than that from the base to Gaussians.
    """
    what = "velocity 'mixture' is that of straight paths from the base to Gaussians"
    if fitted or base.tails is not None:
        found = "a fitted one" if fitted else f"tails: {base.tails:g}"
        raise UserError(f"{what}; allowed: a normal base with its mean and sd, found {found}")
    if section.levels != "last":
        raise UserError(f"{what}; allowed: levels: last, found {section.levels}")
    pairing = section.loss.parameters.get("pairing", "independent")
    if (section.loss.kind, pairing) != ("flow_matching", "independent"):
        raise UserError(f"{what}; allowed: loss: {{kind: flow_matching}} without pairing")


def level_settings(
    section: FlowConfig, level: int, lam_0: float, lam_1: float, derivatives: int = 2
) -> LevelSettings:
    """The settings of a level, counted from 1, from the configuration of its flow, for an energy
    with so many derivatives.
    """
    training = section.training
    return LevelSettings(
        lam_0=lam_0,
        lam_1=lam_1,
        loss=loss_of(section, derivatives),
        recipe=Recipe(
            steps=section.steps_of(level),
            batch=training.batch,
            learning_rate=training.learning_rate,
            averaging=training.averaging,
            clip=training.clip,
            weight_decay=training.weight_decay,
        ),
        kind=section.network.kind,
        network=section.network.settings,
        dtype=getattr(torch, training.precision),
        ensemble=section.ensemble,
        islands=section.islands,
        resample_below=section.resample_below,
        # a single flow's ensemble goes nowhere
        rejuvenation_steps=0 if section.levels == "last" else section.rejuvenation_steps,
        rejuvenation_kernel=rejuvenation_kernel(section),
        rejuvenation_step=section.rejuvenation_step,
        clip_energy=training.clip_energy,
        terms=training.terms,
        residual_weights={
            name: ResidualSettings(
                terms=residual.terms,
                hidden=residual.widths,
                steps=residual.steps,
                batch=residual.batch,
                learning_rate=residual.learning_rate,
            )
            for name, residual in section.residual_weights.items()
        },
    )


def rejuvenation_kernel(section: FlowConfig) -> Kernel:
    """The kernel that moves the ensembles of a flow.

    Raises
    ------
    UserError : it does not take these parameters.
    """
    name = section.rejuvenation_kernel
    usual = {"leapfrog_steps": _LEAPFROG_STEPS} if name == "hmc" else {}
    return get_kernel(name, **{**usual, **section.rejuvenation_parameters})


def level_streams(experiment: Experiment, flow: str, level: int) -> Callable[[str], Stream]:
    """The random stream of each purpose in training a level, counted from 1."""
    return lambda purpose: Stream(experiment.seed, experiment.name, flow, level, purpose)


def loss_of(section: FlowConfig, derivatives: int = 2) -> Loss:
    """The loss of a flow, from its configuration. For an energy without gradients the choice of
    theta is 0.

    Raises
    ------
    UserError : it does not take these parameters.
    """
    kind, parameters = section.loss.kind, section.loss.parameters
    if isinstance(section.network, OwnVelocity):
        # used as it is, there is nothing to choose
        return get_loss("flow_matching")
    if kind != USUAL_LOSS:
        return get_loss(kind, **parameters)
    theta = 0.0 if section.theta == "auto" and derivatives == 0 else section.theta
    chosen = {"theta": theta, "order": section.renyi}
    fixed = {key: value for key, value in chosen.items() if value != "auto"}
    return get_loss(kind, **{**parameters, **fixed, "ramp": section.training.ramp})
