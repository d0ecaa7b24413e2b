"""Configuration: typed sections, one a file; scales resolved; every mistake one line."""

from jeffreysflow.config.display import ProfileConfig
from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.flow import FlowConfig, TrainingConfig
from jeffreysflow.config.generation import GenerationConfig
from jeffreysflow.config.loading import (
    experiment_file,
    experiment_names,
    load_experiment,
    load_project,
    resolve_experiment,
    resolve_project,
    settings_of,
)
from jeffreysflow.config.network import NetworkConfig, OtherNetwork, SplineNetwork
from jeffreysflow.config.potential import BaseConfig, PotentialConfig, TruthConfig
from jeffreysflow.config.project import Project
from jeffreysflow.config.reference import (
    AdaptiveLadder,
    AnyReference,
    FixedLadder,
    GeometricLadder,
    KernelConfig,
    ReferenceConfig,
    SuggestedLadder,
    SwapRuleConfig,
    TileConfig,
)
from jeffreysflow.config.samples_reference import SamplesConfig
from jeffreysflow.config.schema import schemas

__all__ = [
    "AdaptiveLadder",
    "AnyReference",
    "BaseConfig",
    "Experiment",
    "FixedLadder",
    "FlowConfig",
    "GenerationConfig",
    "GeometricLadder",
    "KernelConfig",
    "NetworkConfig",
    "OtherNetwork",
    "PotentialConfig",
    "ProfileConfig",
    "Project",
    "ReferenceConfig",
    "SamplesConfig",
    "SplineNetwork",
    "SuggestedLadder",
    "SwapRuleConfig",
    "TileConfig",
    "TrainingConfig",
    "TruthConfig",
    "experiment_file",
    "experiment_names",
    "load_experiment",
    "load_project",
    "resolve_experiment",
    "resolve_project",
    "schemas",
    "settings_of",
]
