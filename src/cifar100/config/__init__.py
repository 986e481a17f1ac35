"""Every setting of an experiment, with its type, range, default and meaning. Imports neither torch nor numpy."""

from cifar100.config.sections import (
    COMPONENTS,
    SECTIONS,
    AugmentationConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizationConfig,
    TrainingConfig,
    chosen_components,
    component_default,
    get,
    section_settings,
    settings,
)

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
