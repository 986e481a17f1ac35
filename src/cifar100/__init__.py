"""Train, evaluate and use CIFAR-100 classifiers in PyTorch Lightning.

The names in `__all__` are the Python API: `from cifar100 import train, load_config`. Each is loaded on first use, so
that importing this package imports neither torch nor numpy.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar100.commands import (
        apply_audit,
        audit,
        average,
        compare,
        demo,
        dry_run,
        ensemble,
        evaluate,
        export,
        find_lr,
        info,
        list_models,
        list_recipes,
        list_runs,
        load_model,
        predict,
        predict_stream,
        prepare,
        publish,
        report,
        sweep,
        train,
        trials,
        write_space,
    )
    from cifar100.config import Config
    from cifar100.settings import load_config

__version__ = "0.2.0"

__all__ = [
    "Config",
    "apply_audit",
    "audit",
    "average",
    "compare",
    "demo",
    "dry_run",
    "ensemble",
    "evaluate",
    "export",
    "find_lr",
    "info",
    "list_models",
    "list_recipes",
    "list_runs",
    "load_config",
    "load_model",
    "predict",
    "predict_stream",
    "prepare",
    "publish",
    "report",
    "sweep",
    "train",
    "trials",
    "write_space",
]

_MODULES = {"Config": "cifar100.config", "load_config": "cifar100.settings"}
"""Modules of the names that are not in `cifar100.commands`."""

TORCH_ENVIRONMENT = {
    # Threads that wait for each other inside an operation spin for a few microseconds, then release the processor.
    # Endless spinning is up to ten times slower beside another busy process. No spinning makes small operations 2.4
    # times slower on an idle machine (docs/results.md).
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "1000",
    # An operation that MPS lacks runs on the CPU instead of raising NotImplementedError.
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
    # torch's profiler reports its own start and stop on standard error below this level.
    "KINETO_LOG_LEVEL": "6",
}
"""What torch and OpenMP read once, when torch is loaded. Values that the user has set are kept."""

for _name, _value in TORCH_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "cifar100.commands")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
