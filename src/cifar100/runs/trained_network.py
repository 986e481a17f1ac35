"""A trained network, read back from its run folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.folder.layout import DatasetInfo, read_info
from cifar100.data.image_batches import normalize
from cifar100.devices import choose_accelerator
from cifar100.models import build_model, use_channels_last
from cifar100.runs.checkpoints import load_weights, open_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with the weights of a checkpoint, in evaluation mode on the best device."""

    network: nn.Module
    config: Config
    info: DatasetInfo
    checkpoint: Path
    epoch: int
    """How many epochs the weights were trained."""

    averaged: bool
    """Whether they are the moving average of the trained weights."""

    device: torch.device

    @property
    def normalization(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of each channel, pixels in 0..1, that the network was trained with."""
        return self.config.data.mean or self.info.mean, self.config.data.std or self.info.std

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """images: uint8 (N, 3, 32, 32), on any device. Returns float32 (N, num_classes) on the network's device."""
        mean, std = (torch.tensor(values, device=self.device) for values in self.normalization)
        batch = normalize(images.to(self.device), mean, std)
        if self.config.training.channels_last:
            batch = batch.to(memory_format=torch.channels_last)
        logits: Tensor = self.network(batch)
        return logits.float()


def load_trained(run: RunFolder, checkpoint: str, *, device: torch.device | None = None) -> TrainedNetwork:
    """Build a run's network and load its weights.

    Args:
        run: the run folder.
        checkpoint: `best`, `last` or a path.
        device: where to; None is the best there is.

    Raises:
        UserError: a file of the run is missing or damaged, or the checkpoint is of another architecture.
    """
    config = load_config(files=[run.config])
    info = read_info(run.dataset_info)
    path, content = open_checkpoint(run, checkpoint, tell=lambda line: print(line, file=sys.stderr))
    network = build_model(config.model, info.num_classes)
    load_weights(network, content, path)
    device = device or torch.device(choose_accelerator("auto"))
    network = network.eval().to(device)
    if config.training.channels_last:
        use_channels_last(network)
    epoch = int(content.get("epoch", -1)) + 1
    return TrainedNetwork(
        network=network,
        config=config,
        info=info,
        checkpoint=path,
        epoch=epoch,
        averaged=bool(content.get("averaged")),
        device=device,
    )
