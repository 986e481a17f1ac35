"""Train a classifier on features that a frozen network computes once for each image: the linear probe.

The features of all training images are kept in the run's folder until the run has finished, so that a resumed run
continues with the same numbers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.augmentation.registry import build_augmentations, build_mixings
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.array_files import read_npy
from cifar100.data.folder.splits import Split
from cifar100.data.image_batches import network_input, to_device
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.sampler import EpochSampler
from cifar100.devices import choose_accelerator, choose_precision
from cifar100.errors import UserError
from cifar100.files.atomic import replacing
from cifar100.foreign_text import reason
from cifar100.long_steps import progress
from cifar100.models.classifier import classifier_of
from cifar100.runs.folder import RunFolder
from cifar100.training.experiment import Experiment

BATCH_SIZE = 250

MAX_FEATURE = float(np.finfo(np.float16).max)
"""Features are kept in half precision."""


def check_cacheable(config: Config) -> None:
    """Refuse what needs the images in every epoch.

    Raises:
        UserError: names the settings.
    """
    if not config.model.cache_features:
        return
    augmentation = config.augmentation
    enabled: list[Any] = [*build_augmentations(augmentation), *build_mixings(augmentation)]
    on = [
        f"augmentation.{field.name} {getattr(augmentation, field.name)}"
        for one in enabled
        for field in fields(one)
        if getattr(augmentation, field.name) not in (0, None, "none")
    ]
    optimization, training = config.optimization, config.training
    on += [f"training.resolutions {list(training.resolutions)}"] if training.resolutions else []
    on += [f"optimization.teacher {optimization.teacher}"] if optimization.teacher else []
    on += [f"optimization.sam {optimization.sam}"] if optimization.sam != "none" else []
    on += ["data.pipeline images"] if config.data.pipeline == "images" else []
    if on:
        raise UserError(
            f"--model.cache_features trains on features that are computed once, but --{on[0]} needs the images in "
            "every epoch; switch it off, or start from --recipe probe."
        )


def compute_features(experiment: Experiment, run: RunFolder) -> None:
    """Compute the features of all training images with the present weights and keep them, unless the run has them.

    Raises:
        UserError: the network's classifier does not take one vector for each image.
    """
    path = _path(experiment, run)
    if not path.is_file():
        features = _computed(experiment, _data(experiment).folder.map_images("train"))
        with replacing(path, durable=True) as file:
            np.save(file, features)


def on_features(experiment: Experiment, run: RunFolder) -> Experiment:
    """Return an experiment that trains the classifier on the features that `compute_features` has kept.

    Raises:
        UserError: their file cannot be read.
    """
    path = _path(experiment, run)
    try:
        features = torch.from_numpy(read_npy(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); remove it, and it is computed again.") from error
    return _training_on(experiment, features)


def sample_features(experiment: Experiment, *, num_images: int = BATCH_SIZE) -> tuple[Experiment, float]:
    """Return an experiment on features that are all 0, to measure its steps, and the seconds that the real ones take.

    num_images: of the sample; its features are computed twice, and timed the second time.

    Raises:
        UserError: as `check_cacheable` and `compute_features`.
    """
    check_cacheable(experiment.config)
    data = _data(experiment)
    images = data.folder.map_images("train")
    sample = images[:num_images]
    _computed(experiment, sample, silent=True)
    started = time.perf_counter()
    features = _computed(experiment, sample, silent=True)
    seconds = (time.perf_counter() - started) * len(images) / len(sample)
    zeros = torch.zeros(len(images), features.shape[1], dtype=torch.float16)
    return _training_on(experiment, zeros), seconds


def remove_features(run: RunFolder) -> None:
    """Remove the features of a run that has finished; if it is trained longer, they are computed again."""
    for path in run.path.glob("features_*.npy"):
        path.unlink()


class FeatureDataModule(CifarDataModule):
    """Yields features, float32 (N, D), instead of images, and labels int64 (N,).

    Args:
        config: all settings.
        info: the description of the data.
        split: the training and validation images.
        features: float16 (all, D), of all training images.
    """

    def __init__(self, config: Config, info: DatasetInfo, split: Split, features: Tensor) -> None:
        super().__init__(config, info, split)
        self.features = features

    def _make_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        labels = torch.from_numpy(self.folder.load_labels("train")).to(self._device)
        self.features = self.features.to(self._device)
        return FeatureLoader(self.features, labels, self._sampler(indices, training=training))


class FeatureLoader(EpochLoader):
    """Yields rows of features, float32 (N, D), and labels, int64 (N,), on the device that holds them.

    Args:
        features: float16 (all, D).
        labels: int64 (all,), on the same device.
        sampler: chooses the rows.
    """

    def __init__(self, features: Tensor, labels: Tensor, sampler: EpochSampler) -> None:
        super().__init__(sampler)
        self.features = features
        self.labels = labels

    def _batches(self) -> Iterator[Batch]:
        for batch in self.sampler.batches()[self.sampler.first_step :]:
            rows = to_device(torch.from_numpy(batch), self.features.device)  # without waiting for the device
            yield self.features.index_select(0, rows).float(), self.labels.index_select(0, rows)


def _training_on(experiment: Experiment, features: Tensor) -> Experiment:
    """Return an experiment that trains the classifier on features, float16 (all, D), of all training images."""
    experiment.module.classifier = _classifier(experiment)[0]
    cached = FeatureDataModule(experiment.config, experiment.info, _data(experiment).split, features)
    return replace(experiment, data=cached)


def _data(experiment: Experiment) -> CifarDataModule:
    assert isinstance(experiment.data, CifarDataModule), "checked by CustomParts.check_settings"
    return experiment.data


def _classifier(experiment: Experiment) -> tuple[str, nn.Module]:
    found = classifier_of(experiment.module.network)
    assert found is not None, "checked when the rest was frozen"
    return found


def _path(experiment: Experiment, run: RunFolder) -> Path:
    """Return the file of the features; its name has a hash of what they depend on."""
    data = _data(experiment)
    digest = hashlib.sha256(f"{data.info.sha256.get('train')} {data.mean} {data.std} {data.config.data.side}".encode())
    prefix = f"{_classifier(experiment)[0]}."
    for name, value in experiment.module.network.state_dict().items():
        if not name.startswith(prefix):
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return run.path / f"features_{digest.hexdigest()[:16]}.npy"


@torch.no_grad()  # not inference_mode: a GPU would get and return buffers that no saved state can be loaded into
def _computed(experiment: Experiment, images: NDArray[np.uint8], *, silent: bool = False) -> NDArray[np.float16]:
    """Return the features of images, float16 (N, D). Shows progress.

    images: uint8 (N, 3, S, S), of the data folder.
    """
    data, network, training = _data(experiment), experiment.module.network, experiment.config.training
    accelerator = choose_accelerator(training.accelerator)
    is_half = choose_precision(training.precision, accelerator) == "bf16-mixed"
    precision = torch.autocast(accelerator, torch.bfloat16) if is_half else nullcontext()
    memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
    mean, std = (torch.tensor(values, device=accelerator) for values in (data.mean, data.std))
    side = experiment.config.data.side
    _, classifier = _classifier(experiment)
    inputs: list[Tensor] = []
    parts: list[NDArray[np.float16]] = []
    handle = classifier.register_forward_pre_hook(lambda layer, values: inputs.append(values[0]))
    network.eval().to(accelerator)
    try:
        bar = progress("Features of the training images", total=len(images), silent=silent)
        with precision, bar as advance:
            for start in range(0, len(images), BATCH_SIZE):
                chosen = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).to(accelerator)
                logits = network(network_input(chosen, mean, std, side=side, memory_format=memory_format))
                parts.append(_checked(inputs, classifier, logits))
                inputs.clear()
                advance(len(chosen))
    finally:
        handle.remove()
        network.to("cpu")
        experiment.module.train()
    return np.concatenate(parts)


def _checked(inputs: list[Tensor], classifier: nn.Module, logits: Tensor) -> NDArray[np.float16]:
    """Return the features of a batch, float16 (N, D), after a check that the classifier makes the logits of them."""
    is_vector = len(inputs) == 1 and inputs[0].ndim == 2 and len(inputs[0]) == len(logits)
    if not is_vector or not torch.equal(classifier(inputs[0]), logits):
        raise UserError(
            "--model.cache_features needs a network whose logits are those of its classifier, one vector of features "
            "for each image; leave it out."
        )
    features = inputs[0].float()
    largest = features.abs().max().item()
    if not largest <= MAX_FEATURE:
        raise UserError(
            f"--model.cache_features keeps features in half precision, but one is {largest:.3g}, expected at most "
            f"{MAX_FEATURE:,.0f}; leave it out."
        )
    values: NDArray[np.float16] = features.cpu().numpy().astype(np.float16)
    return values
