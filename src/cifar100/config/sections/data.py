"""Settings of the images and of the input pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cifar100.config.sections.section import Section
from cifar100.config.types import Needs, NeedsAny, Range


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Source of the images and the input pipeline."""

    root: Path = Path("dataset")
    """Folder of the prepared data; or of custom images in class folders (`train/cat/1.jpg` or `cat/1.jpg`), or beside a
    `train.csv`."""

    source: str = "download"
    """Source of the data if `root` holds none: `download` (the official archive), `generated` (Shapes-100, drawn by
    this program), or the path of labelled images: class folders, a folder with a `train.csv`, parquet, .npz, or an
    official folder or archive."""

    skip_damaged: bool = False
    """Leave out custom images that cannot be read, instead of stopping with an error. `skipped_images.csv` in `root`
    lists them."""

    pipeline: Literal["images", "packed"] = "packed"
    """`packed`: uint8 arrays held and augmented on the device, whole batches at a time. `images`: PNG files augmented
    one by one with Albumentations in worker processes."""

    image_size: Annotated[int | None, Range(16, 256, multiple_of=8)] = None
    """Side in pixels of the input images of the network. Custom images are scaled to it once, at preparation. Those of
    CIFAR-100 and Shapes-100 are stored with 32x32 pixels; each batch is scaled after augmentation. null is 32, or the
    size that the weights of `model.pretrained` or `model.weights` were trained with, if it is known."""

    batch_size: Annotated[int | Literal["auto"], Range(1, 100_000)] = 128
    """Images per optimizer step on each device. N devices process N times as many per step; the learning rate is not
    scaled. `auto`: the largest power of two that fits into memory and leaves at least 20 steps per epoch; it scales the
    learning rate of the recipe, but not one that you set. The run keeps both numbers."""

    sampler: Literal["shuffled", "balanced"] = "shuffled"
    """Training images of an epoch. `shuffled`: each image once. `balanced`: the same number of images, each class
    equally often, so images of rare classes are repeated and some of frequent classes are left out."""

    validation_fraction: Annotated[float, Range(0, 0.9)] = 0.1
    """Fraction of the training images held out to select the best epoch; 0 trains on all of them."""

    num_folds: Annotated[int | None, Range(2, 100)] = None
    """Divide the training images into this many stratified folds, one of which is held out for validation, instead of
    `validation_fraction` or a `val.csv`; null uses no folds."""

    fold: Annotated[int, Range(0, 99), Needs("data.num_folds")] = 0
    """Fold that is held out, from 0."""

    split_seed: Annotated[int, Range(0, 2**32 - 1), NeedsAny("data.validation_fraction", "data.num_folds")] = 0
    """Seed of the stratified train/validation split, and of the folds."""

    group_duplicates: Annotated[bool, NeedsAny("data.validation_fraction", "data.num_folds")] = False
    """Keep duplicates and near-duplicates on one side of the train/validation split, so that they do not inflate the
    validation accuracy. They are found by a perceptual hash, as `cifar100 audit` does."""

    exclude: Path | None = None
    """An edited `audit.csv` of `cifar100 audit`: training images whose `verdict` is `reject` are left out of training
    and validation. The run keeps a copy of the list. null leaves out none."""

    num_workers: Annotated[int | Literal["auto"], Range(0, 256), Needs("data.pipeline", "images")] = "auto"
    """Worker processes of the `images` pipeline; `auto` is one per processor, at most 8. It does not change the
    results."""

    mean: Annotated[tuple[float, float, float] | None, Range(0, 1)] = None
    """Channel means (R, G, B; pixels in 0..1) to normalise with; null uses those measured at preparation."""

    std: Annotated[tuple[float, float, float] | None, Range(0.001, 1, why="images are divided by it")] = None
    """Channel standard deviations to normalise with; null uses those measured at preparation, 1 for a constant
    channel."""

    @property
    def side(self) -> int:
        """Side in pixels of the images that the network gets. A run sets `image_size` before it begins."""
        return 32 if self.image_size is None else self.image_size

    @property
    def images_per_step(self) -> int:
        """The batch size as a number, which `training.cost.batch_size` decides on before a run begins if it is auto."""
        assert self.batch_size != "auto", "resolved before it is used"
        return self.batch_size
