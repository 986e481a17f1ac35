"""Runs to export that take no training: random weights of a tiny network, with the files that a run leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import save_split, stratified_split
from cifar100.models import build_model
from cifar100.runs.checkpoints import write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config, write_config


def write_exportable(path: Path, data_root: Path, **settings: object) -> RunFolder:
    """Write a run of a tiny network whose probabilities differ from image to image."""
    run = RunFolder(path)
    path.mkdir(parents=True)
    info = DataFolder(data_root).info()
    config = load_config(
        "quickstart",
        overrides={"data.root": data_root, "model.widths": [8, 8, 8], **settings}
        if "model.name" not in settings
        else {"data.root": data_root, **settings},
    )
    write_config(config, run.config, comment="written by a test")
    write_info(info, run.dataset_info)
    save_split(stratified_split(DataFolder(data_root).load("train")[1], fraction=0.2, seed=0), run.split)
    write_checkpoint({"state_dict": random_weights(config, info), "epoch": 4}, run.checkpoints / "best.ckpt")
    return run


def random_weights(config: Config, info: DatasetInfo) -> dict[str, torch.Tensor]:
    """Return the state of a Lightning checkpoint; statistics of batch normalisation are not the initial ones."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    weights = {}
    for name, value in build_model(config.model, info.num_classes).state_dict().items():
        if name.endswith("running_mean"):
            value = torch.randn(value.shape, generator=generator) / 10
        elif name.endswith("running_var"):
            value = torch.rand(value.shape, generator=generator) + 0.1
        weights[f"network.{name}"] = 30 * value if name == "head.weight" else value
    return weights


def with_classes(info: DatasetInfo, *names: str) -> DatasetInfo:
    """Return a description of data with these classes and no superclasses."""
    return replace(info, class_names=names, superclass_names=(), class_to_superclass=())
