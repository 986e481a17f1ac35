"""Runs of a small network on the same small data: some share their start, some do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_folder import make_folder

from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.data.folder.splits import Split, save_split
from cifar100.models import build_model
from cifar100.runs.checkpoints import write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config, write_config

NUM_CLASSES = 5


def make_data(root: Path = Path("data")) -> DatasetInfo:
    return make_folder(root, num_classes=NUM_CLASSES)


def write_member(
    name: str, info: DatasetInfo, *, step: float = 0.0, validation: range = range(40, 60), **settings: Any
) -> RunFolder:
    """Write `logs/<name>`: the weights are those at the start, of its seed, plus `step` times random numbers."""
    run = RunFolder(Path("logs") / name)
    run.path.mkdir(parents=True)
    overrides = {
        "data.root": "data",
        "model.widths": [8, 8, 8],
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    config = load_config("quickstart", overrides=overrides)
    write_config(config, run.config, comment="written by a test")
    write_info(info, run.dataset_info)
    train = np.array([position for position in range(60) if position not in validation])
    save_split(Split(train=train, validation=np.array(validation, dtype=np.int64)), run.split)
    torch.manual_seed(config.training.seed)
    network = build_model(config.model, len(info.class_names))
    torch.manual_seed(round(1000 * step))
    state = {
        name: value + step * torch.randn_like(value) if value.is_floating_point() and "running" not in name else value
        for name, value in network.state_dict().items()
    }
    weights = {f"network.{name}": value for name, value in state.items()}
    write_checkpoint({"state_dict": weights, "epoch": 4}, run.checkpoints / "best.ckpt")
    return run
