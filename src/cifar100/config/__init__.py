"""Every setting of an experiment, with its type, range, default and meaning. Imports neither torch nor numpy."""

from cifar100.config.config import SECTIONS, Config, component_default, get, section_settings, settings
from cifar100.config.sections.chosen import COMPONENTS, chosen_components
from cifar100.config.sections.data import DataConfig
from cifar100.config.sections.model import AugmentationConfig, ModelConfig
from cifar100.config.sections.optimization import OptimizationConfig
from cifar100.config.sections.training import TrainingConfig

__all__ = [
    "COMPONENTS",
    "SECTIONS",
    "AugmentationConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimizationConfig",
    "TrainingConfig",
    "chosen_components",
    "component_default",
    "get",
    "section_settings",
    "settings",
]
