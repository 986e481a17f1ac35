"""Trained networks that never were trained: stubs in memory, and run folders on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.runs.checkpoints import write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.settings import load_config, write_config

INFO = DatasetInfo(
    name="Six things",
    origin="custom",
    class_names=("a", "b", "c", "d", "e", "f"),
    superclass_names=("first", "second"),
    class_to_superclass=(0, 0, 0, 1, 1, 1),
    num_train=6,
    num_test=4,
    sha256={},
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


class ColourNetwork(nn.Module):
    """Logits are a linear function of the mean colour. Keeps the sizes of its batches."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        self.batch_sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batch_sizes.append(len(images))
        logits: Tensor = self.head(images.mean(dim=(2, 3)))
        return logits


def stub(network: nn.Module, *, info: DatasetInfo = INFO, config: Config | None = None) -> TrainedNetwork:
    return TrainedNetwork(
        network=network,
        config=config or Config(),
        info=info,
        checkpoint=Path("best.ckpt"),
        averaged=False,
        epoch=3,
        device=torch.device("cpu"),
    )


def write_run(path: Path, network: nn.Module, *, info: DatasetInfo = INFO, data_root: Path | None = None) -> RunFolder:
    """Write what a run of `network` leaves for evaluation and prediction."""
    run = RunFolder(path)
    path.mkdir(parents=True)
    config = load_config("quickstart", overrides={"data.root": data_root or path / "data"})
    write_config(config, run.config, comment="written by a test")
    write_info(info, run.dataset_info)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    write_checkpoint({"state_dict": weights, "epoch": 4}, run.checkpoints / "best.ckpt")
    return run
