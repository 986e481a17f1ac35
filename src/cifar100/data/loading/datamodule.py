"""The LightningDataModule of an experiment: its training and validation batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import Split
from cifar100.data.image_batches import network_input
from cifar100.data.loading.device_loader import DeviceLoader, resolution_at
from cifar100.data.loading.epoch_loader import Batch, EpochLoader
from cifar100.data.loading.placement import Placement, place_images
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
                f"the train/validation split is for {split.num_images:,} images, but "
                f"{config.data.root} holds {info.num_train:,} training images; was the data folder changed?"
            )
        self.config = config
        self.info = info
        self.split = split
        self.folder = DataFolder(config.data.root, config.data.side)
        mean, std = info.normalization
        self.mean = config.data.mean or mean
        self.std = config.data.std or std
        self.progress: Callable[[], float] = float  # 0.0; unlike a lambda it can be pickled, as `ddp_spawn` requires
        """Returns the run's progress, 0 to 1, which sets the resolution of the next training batch."""
        self.device_without_trainer = torch.device("cpu")
        """Where the `packed` pipeline holds the images, and yields batches, if there is no Trainer."""
        self._statistics = torch.tensor([self.mean, self.std])
        self._loaders: list[EpochLoader] = []
        self._held: tuple[Tensor, Tensor] | None = None
        self._placed: Placement | None = None

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
        self._held = None

    def on_exception(self, exception: BaseException) -> None:
        """Do the same after an exception, when Lightning does not call `teardown`."""
        self.teardown("fit")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Scale and normalise uint8 images; batches of the `packed` pipeline already are."""
        images, labels = batch
        if images.dtype != torch.uint8:
            return batch
        self._statistics = self._statistics.to(images.device)  # moved once
        memory_format = torch.channels_last if self.config.training.channels_last else torch.contiguous_format
        side = self.config.data.side
        return network_input(images, *self._statistics, side=side, memory_format=memory_format), labels

    def resolution(self) -> int:
        """Return the side in pixels of the next training batch of the `packed` pipeline."""
        training, side = self.config.training, self.config.data.side
        return resolution_at(self.progress(), training.resolutions or (side,), training.resolution_changes or ())

    def _loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        loader = self._make_loader(indices, training=training)
        self._loaders.append(loader)
        return loader

    def _make_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        build = self._packed_loader if self.config.data.pipeline == "packed" else self._image_loader
        return build(indices, training=training)

    def describe_images(self, device: torch.device) -> str:
        """Return the size of the images, where they are held, and how much memory that takes."""
        side, size = self.info.image_size, self.config.data.side
        scaled = f", scaled to {size}x{size} in each batch" if size != side else ""
        if self.config.data.pipeline == "images":
            held = f"mapped from {self.folder.packed}" if self.folder.is_custom() else "read from files"
        else:
            held = self._placement(device).describe()
        return f"{side}x{side}{scaled}; {held}"

    def _placement(self, device: torch.device) -> Placement:
        """Decide once where the images of the `packed` pipeline are held."""
        if self._placed is None:
            self._placed = place_images(self.folder, device, copies=self.config.training.processes_here)
        return self._placed

    def _packed_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        if self._held is None:
            images = self._placement(self._device).load()
            self._held = images, torch.from_numpy(self.folder.load_labels("train")).to(self._device)
        images, labels = self._held
        return DeviceLoader(
            images,
            labels,
            self._sampler(indices, training=training),
            mean=self.mean,
            std=self.std,
            augmentation=self.config.augmentation if training else None,
            num_classes=self.info.num_classes,
            side=self.config.data.side,
            resolution=self.resolution,
            channels_last=self.config.training.channels_last,
        )

    def _image_loader(self, indices: NDArray[np.int64], *, training: bool) -> EpochLoader:
        # Imported here, because the `packed` pipeline needs neither OpenCV nor Albumentations.
        from cifar100.data.augmentation.single_image import build_transform
        from cifar100.data.loading.dataset import CsvImageDataset, ImageDataset, PreparedImageDataset
        from cifar100.data.loading.image_loader import ImageLoader, resolve_num_workers

        transform = build_transform(self.config.augmentation, side=self.info.image_size) if training else None
        seed, folder = self.config.training.seed, self.folder
        dataset: ImageDataset
        if folder.is_custom():
            dataset = PreparedImageDataset(folder, transform=transform, seed=seed)
        else:
            csv, classes = folder.csv("train"), self.info.num_classes
            dataset = CsvImageDataset(csv, folder.images, transform=transform, seed=seed, num_classes=classes)
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
        is_balanced = training and self.config.data.sampler == "balanced"
        return EpochSampler(
            indices,
            labels=self.folder.load_labels("train")[indices] if is_balanced else None,
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
        return self.trainer.strategy.root_device if self.trainer else self.device_without_trainer
