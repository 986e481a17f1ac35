"""Load a trained network from its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo, read_info
from cifar100.data.given_images import BATCH_SIZE, GivenImages, is_batch, pixel_batches
from cifar100.data.image_batches import network_input
from cifar100.devices import choose_accelerator
from cifar100.errors import UserError
from cifar100.models import NetworkSource, make_network, use_channels_last
from cifar100.runs.checkpoints import load_weights, max_checkpoint_bytes, open_checkpoint
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.weights import Weights
from cifar100.settings import load_complete_config
from cifar100.terminal import warn


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with the weights of a checkpoint, in evaluation mode on the best device. Call it with images.

    It takes and returns what `load_model` says. Threads may call it at the same time if its network only computes, as
    all networks of this program. Images are scaled to S pixels (`info.image_size`, 32 for CIFAR-100), then as in
    training to `data.image_size`.
    """

    network: nn.Module
    config: Config
    info: DatasetInfo
    checkpoint: Path
    epoch: int
    averaged: bool
    step: int | None = None
    """These and the name of the checkpoint name the weights; see `Weights`."""

    device: torch.device

    temperature: float = 1.0
    """Divides the logits before they become probabilities; see `cifar100.results.calibration`."""

    @property
    def weights(self) -> Weights:
        """What tells the weights from others of the run."""
        return Weights(checkpoint=self.checkpoint.name, epoch=self.epoch, averaged=self.averaged, step=self.step)

    @property
    def normalization(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of each channel in training, pixels in 0..1."""
        mean, std = self.info.normalization
        return self.config.data.mean or mean, self.config.data.std or std

    @overload
    def __call__(self, images: Tensor) -> Tensor: ...  # type: ignore[overload-overlap]  # a tensor is iterable as well

    @overload
    def __call__(self, images: GivenImages) -> NDArray[np.float32]: ...

    def __call__(self, images: GivenImages) -> Tensor | NDArray[np.float32]:
        """Return the probabilities of images, float32 (N, num_classes); see `load_model`.

        A tensor gives a tensor on its device, everything else an array.
        """
        if not isinstance(images, Tensor):
            return self.probabilities(images)
        if not is_batch(images, self.info.image_size):
            return torch.from_numpy(self.probabilities(images)).to(images.device)
        batches = [self._softmax(batch).to(images.device) for batch in torch.split(images, BATCH_SIZE)]
        return torch.cat(batches)

    def probabilities(self, images: GivenImages) -> NDArray[np.float32]:
        """Return the probabilities of images, float32 (N, num_classes), as an array."""
        found = [np.zeros((0, self.info.num_classes), np.float32)]
        batches = pixel_batches(images, side=self.info.image_size)
        found += [self._softmax(torch.from_numpy(batch)).cpu().numpy() for batch in batches]
        return np.concatenate(found)

    def _softmax(self, images: Tensor) -> Tensor:
        probabilities = (self.logits(images) / self.temperature).softmax(dim=1)
        if not probabilities.isfinite().all():
            raise UserError(f"{self.checkpoint} returns probabilities that are not finite; use other weights.")
        return probabilities

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the last linear layer, float32 (N, D), on the network's device.

        images: as for `logits`.

        Raises:
            UserError: the network has no linear layer, or does not use it once on one vector for each image.
        """
        return self.logits_and_features(images)[1]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `logits` and `features` return, from one forward pass."""
        layers = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)]
        inputs: list[Tensor] = []
        if layers:
            handle = layers[-1].register_forward_pre_hook(lambda layer, values: inputs.append(values[0]))
            try:
                logits = self.logits(images)
            finally:
                handle.remove()
        if len(inputs) != 1 or inputs[0].ndim != 2 or len(inputs[0]) != len(images):
            raise UserError(
                f"{type(self.network).__name__} has no features: they are the input of its last linear layer, one "
                "vector for each image."
            )
        return logits, inputs[0].float().clone()

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """images: uint8 (N, 3, S, S), on any device. Returns float32 (N, num_classes) on the network's device."""
        logits: Tensor = self.network(self.normalized(images))
        return logits.float()

    def normalized(self, images: Tensor) -> Tensor:
        """images: uint8 (N, 3, S, S), on any device. Returns what the network takes, float32 on its device."""
        mean, std = (torch.tensor(values, device=self.device) for values in self.normalization)
        as_stored = images.shape[2:] == (self.info.image_size, self.info.image_size)
        side = self.config.data.side if as_stored else None
        memory_format = torch.channels_last if self.config.training.channels_last else torch.contiguous_format
        return network_input(images.to(self.device), mean, std, side=side, memory_format=memory_format)


def load_trained(
    run: RunFolder,
    checkpoint: str | PathLike[str],
    *,
    device: torch.device | None = None,
    network: NetworkSource | None = None,
) -> TrainedNetwork:
    """Build a run's network and load its weights.

    Args:
        run: the run folder.
        checkpoint: `best`, `last` or a path.
        device: device of the network; the default is the best that works.
        network: replaces the network that config.yaml names, for a run that was trained with a custom one. A module is
            changed in place: its weights, mode and device.

    Raises:
        UserError: a file of the run is missing or damaged, or the checkpoint is of another architecture.
    """
    config = load_complete_config(run.config)
    info = read_info(run.dataset_info)
    custom = read_parts(run).get("network")
    if network is None and custom is not None:
        raise UserError(
            f"{run.path} was trained from Python with network={custom}, which config.yaml cannot name; load it from "
            f"there: load_model({run.path.as_posix()!r}, network=...), or evaluate and predict likewise."
        )
    module = make_network(network, config.model, info.num_classes)
    path, content = open_checkpoint(run, checkpoint, tell=warn, max_bytes=max_checkpoint_bytes(module))
    whose = "the network that config.yaml names" if network is None else f"network={type(module).__name__}, as given"
    load_weights(module, content, path, whose=whose)
    weights = Weights.of_checkpoint(path, content)
    device = device or torch.device(choose_accelerator("auto"))
    module = module.eval().to(device)
    if config.training.channels_last:
        use_channels_last(module)
    return TrainedNetwork(
        network=module,
        config=config,
        info=info,
        checkpoint=path,
        epoch=weights.epoch,
        averaged=weights.averaged,
        step=weights.step,
        device=device,
    )
