"""The LightningDataModule of an experiment: its training and validation batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder, DatasetInfo
from cifar100.data.folder.splits import Split
from cifar100.data.image_batches import IMAGE_SIDE, normalize
from cifar100.data.loading.device_loader import DeviceLoader, resolution_at
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError

VALIDATION_BATCH_SIZE = 500  # minimum; there are no gradients to keep in memory


class CifarDataModule(LightningDataModule):
    """The training split of a prepared data folder, divided into training and validation.

    The network gets images float32 (N, 3, side, side), normalised, and labels int64 (N,), or label probabilities
    float32 (N, classes) if mixup or CutMix blended the batch. The test split is never opened here. Each rank gets its
    part of every epoch; see `EpochSampler`.
    """

    def __init__(self, config: Config, info: DatasetInfo, split: Split) -> None:
        super().__init__()
        if split.num_images != info.num_train:
            raise UserError(
                f"the train/validation split is for {split.num_images} images, but "
                f"{config.data.root} holds {info.num_train} training images; was the data folder changed?"
            )
        self.config = config
        self.info = info
        self.split = split
        self.folder = DataFolder(config.data.root)
        mean, std = info.normalization
        self.mean = config.data.mean or mean
        self.std = config.data.std or std
        self.progress: Callable[[], float] = float  # 0.0; unlike a lambda it can be pickled, as `ddp_spawn` requires
        """Returns the run's progress, 0 to 1, which sets the resolution of the next training batch."""
        self._statistics = torch.tensor([self.mean, self.std])
        self._loaders: list[EpochLoader] = []
        self._on_device: tuple[Tensor, Tensor] | None = None

    @property
    def num_train(self) -> int:
        """Images to train on."""
        return len(self.split.train)

    @property
    def steps_per_epoch(self) -> int:
        """Training batches of each rank in an epoch, ignoring `training.limit_train_batches`."""
        return len(self._sampler(self.split.train, training=True))

    def train_dataloader(self) -> EpochLoader:
        """Return the shuffled and augmented training images, in whole batches."""
        return self._loader(self.split.train, training=True)

    def val_dataloader(self) -> EpochLoader | list[EpochLoader]:
        """Return every validation image once, never augmented; an empty list if none are held out."""
        return self._loader(self.split.validation, training=False) if len(self.split.validation) else []

    def teardown(self, stage: str) -> None:
        """Stop worker processes and free the device's memory."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()
        self._on_device = None

    def on_exception(self, exception: BaseException) -> None:
        """Do the same after an exception, when Lightning does not call `teardown`."""
        self.teardown("fit")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise uint8 images; batches of the `packed` pipeline already are."""
        images, labels = batch
        if images.dtype != torch.uint8:
            return batch
        self._statistics = self._statistics.to(images.device)  # moved once
        images = normalize(images, *self._statistics)
        if self.config.training.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def resolution(self) -> int:
        """Return the side in pixels of the next training batch of the `packed` pipeline."""
        training = self.config.training
        return resolution_at(self.progress(), training.resolutions or (IMAGE_SIDE,), training.resolution_changes or ())

    def _loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        build = self._packed_loader if self.config.data.pipeline == "packed" else self._image_loader
        loader = build(indices, training=training)
        self._loaders.append(loader)
        return loader

    def _packed_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        if self._on_device is None:
            images, labels = self.folder.load("train")
            self._on_device = torch.from_numpy(images).to(self._device), torch.from_numpy(labels).to(self._device)
        images_on_device, labels_on_device = self._on_device
        return DeviceLoader(
            images_on_device,
            labels_on_device,
            self._sampler(indices, training=training),
            mean=self.mean,
            std=self.std,
            augmentation=self.config.augmentation if training else None,
            num_classes=self.info.num_classes,
            side=self.resolution,
            channels_last=self.config.training.channels_last,
        )

    def _image_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        # Imported here, because the `packed` pipeline needs neither OpenCV nor Albumentations.
        from cifar100.data.augmentation.single_image import build_transform
        from cifar100.data.loading.dataset import CsvImageDataset
        from cifar100.data.loading.image_loader import ImageLoader, resolve_num_workers

        dataset = CsvImageDataset(
            self.folder.csv("train"),
            self.folder.images,
            transform=build_transform(self.config.augmentation) if training else None,
            seed=self.config.training.seed,
            num_classes=self.info.num_classes,
            validation_csv=self.folder.validation_csv() if self.info.num_validation else None,
        )
        return ImageLoader(
            dataset,
            self._sampler(indices, training=training),
            num_workers=resolve_num_workers(
                self.config.data.num_workers, num_processes=self.config.training.processes_here
            ),
            pin_memory=self._device.type == "cuda",
        )

    def _sampler(self, indices: NDArray[np.int64], *, training: bool) -> EpochSampler:
        batch_size = self.config.data.images_per_step
        return EpochSampler(
            indices,
            batch_size=batch_size if training else max(batch_size, VALIDATION_BATCH_SIZE),
            training=training,
            seed=self.config.training.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world_size,
        )

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else self.config.training.num_processes

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
