"""Describe a release: official, altered or generated, its superclasses, its channel statistics."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.packed_arrays import channel_statistics
from cifar100.data.sources import shapes100
from cifar100.data.sources.release import Release
from cifar100.errors import UserError
from cifar100.taxonomy import FINE_NAMES, FINE_TO_SUPERCLASS, SUPERCLASS_NAMES

OFFICIAL_SHA256 = {
    "train": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    "test": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
}
"""Sums of `train.bin` and `test.bin` of the official binary version."""


def describe_release(release: Release) -> DatasetInfo:
    """Return the facts about a release; they do not depend on its container.

    Raises:
        UserError: the superclass of a class is unknown.
    """
    sha256 = {"train": release.train.sha256(), "test": release.test.sha256()}
    origin = _origin(release, sha256)
    mean, std = channel_statistics(release.train.images)
    num_images = len(release.train.images) + len(release.test.images)
    return DatasetInfo(
        name=shapes100.name(sha256, num_images=num_images) if origin == "generated" else "CIFAR-100",
        origin=origin,
        class_names=release.class_names,
        superclass_names=release.superclass_names,
        class_to_superclass=_class_to_superclass(release),
        num_train=len(release.train.images),
        num_test=len(release.test.images),
        sha256=sha256,
        mean=mean,
        std=std,
    )


def _origin(release: Release, sha256: dict[str, str]) -> Literal["official", "altered", "generated"]:
    names = (release.class_names, release.superclass_names)
    if names == (shapes100.CLASS_NAMES, shapes100.SUPERCLASS_NAMES):
        return "generated"
    return "official" if sha256 == OFFICIAL_SHA256 and names == (FINE_NAMES, SUPERCLASS_NAMES) else "altered"


def _class_to_superclass(release: Release) -> tuple[int, ...]:
    """Return the superclass of each class from the labels, which `parse_release` has found consistent."""
    names = (release.class_names, release.superclass_names)
    superclasses = dict(enumerate(FINE_TO_SUPERCLASS)) if names == (FINE_NAMES, SUPERCLASS_NAMES) else {}
    for split in (release.train, release.test):
        labels, first = np.unique(split.fine_labels, return_index=True)
        superclasses |= dict(zip(labels.tolist(), split.coarse_labels[first].tolist(), strict=True))
    for label, name in enumerate(release.class_names):
        if label not in superclasses:
            raise UserError(
                f"the release has no image of the class {name!r}, expected at least one; use a complete release."
            )
    return tuple(superclasses[label] for label in range(len(release.class_names)))
