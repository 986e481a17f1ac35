"""The commands as plain Python functions, for the command line, notebooks and scripts.

Each function imports what it needs when it is called, which keeps importing this package and `--help` fast.
"""

from __future__ import annotations

from cifar100.commands.combining import average, ensemble
from cifar100.commands.data import apply_audit, audit, prepare
from cifar100.commands.listing import info, list_models, list_recipes, list_runs
from cifar100.commands.prediction import load_model, predict, predict_stream
from cifar100.commands.results import compare, evaluate, export, report
from cifar100.commands.search import sweep, trials
from cifar100.commands.sharing import demo, publish, write_space
from cifar100.commands.training import dry_run, find_lr, train

__all__ = [
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
