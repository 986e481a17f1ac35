"""Tell from its content what a release is: the official one, a changed one, or ours."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cifar100.data import generated
from cifar100.data.packed import channel_statistics
from cifar100.data.prepared import DatasetInfo
from cifar100.data.release import Release
from cifar100.errors import UserError
from cifar100.taxonomy import FINE_NAMES, FINE_TO_SUPERCLASS, SUPERCLASS_NAMES

OFFICIAL_SHA256 = {
    "train": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    "test": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
}
"""Of `train.bin` and `test.bin` of the official binary version."""


def describe_release(release: Release) -> DatasetInfo:
    """Return the facts about a release; the same content gives the same facts whatever container it came in.

    Raises:
        UserError: the superclass of a class cannot be told.
    """
    sha256 = {"train": release.train.sha256(), "test": release.test.sha256()}
    origin = _origin(release, sha256)
    mean, std = channel_statistics(release.train.images)
    return DatasetInfo(
        name=generated.NAME if origin == "generated" else "CIFAR-100",
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
    if names == (generated.CLASS_NAMES, generated.SUPERCLASS_NAMES):
        return "generated"
    return "official" if sha256 == OFFICIAL_SHA256 and names == (FINE_NAMES, SUPERCLASS_NAMES) else "altered"


def _class_to_superclass(release: Release) -> tuple[int, ...]:
    """Take the superclasses from the labels; `read_release` has checked that they do not contradict each other."""
    names = (release.class_names, release.superclass_names)
    superclasses = dict(enumerate(FINE_TO_SUPERCLASS)) if names == (FINE_NAMES, SUPERCLASS_NAMES) else {}
    for split in (release.train, release.test):
        labels, first = np.unique(split.fine_labels, return_index=True)
        superclasses |= dict(zip(labels.tolist(), split.coarse_labels[first].tolist(), strict=True))
    for label, name in enumerate(release.class_names):
        if label not in superclasses:
            raise UserError(f"the release has no image of the class {name!r}; every class needs one to be learned.")
    return tuple(superclasses[label] for label in range(len(release.class_names)))
