"""`audit.html`: the findings as one page with the pictures side by side, from the template `page.html`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import numpy as np

from cifar100.data.audit.duplicates import MAX_DISTANCE_OF_NEIGHBOURS, MIN_SIMILARITY
from cifar100.data.audit.findings import Finding, Kind, crosses_classes, crosses_splits
from cifar100.data.audit.hashes import MAX_DISTANCE
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.oddities import DARK_VALUE, ODD_DEVIATIONS, UNIFORM_STD
from cifar100.data.folder.image_files import encode_png, thumbnail
from cifar100.foreign_text import printable

MAX_SHOWN = 100
"""Findings of each kind on the page; about 1 MB for images of 32x32 pixels."""

PICTURE_SIDE = 96
"""Pixels to which larger images are reduced: the size in which the page shows them."""

_TITLES: dict[Kind, str] = {
    "exact_duplicate": "Exact duplicates",
    "near_duplicate": "Near-duplicates",
    "label": "Suspected label errors",
    "oddity": "Oddities",
}


HASH_SENTENCE = f"The perceptual hashes differ in at most {MAX_DISTANCE} of 64 bits, and the details agree."

HASH_AND_FEATURES_SENTENCE = (
    f"The perceptual hashes differ in at most {MAX_DISTANCE} of 64 bits; or in at most {MAX_DISTANCE_OF_NEIGHBOURS}, "
    "and one image is among the nearest neighbours of the other in the features of the network. In both cases the "
    "details agree."
)

ODD_SENTENCE = (
    "Odd: the distance to its tenth nearest neighbour, in the features of the network, is "
    f"{ODD_DEVIATIONS:g} standard deviations above the median, on a logarithmic scale."
)


@dataclass(frozen=True, kw_only=True)
class Methods:
    """How the findings were made, in sentences for the page."""

    summary: str
    """Which network looked at the images, if any."""

    near_duplicates: str
    labels: str
    """Which images were examined, by which networks; or why none were."""

    odd: str
    """Like `labels`, for the images that are unlike all others."""


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """The number of images of a class."""

    name: str
    train: int
    test: int
    share: float
    """Training images, as a fraction of those of the largest class."""


def render_page(
    findings: Sequence[Finding], images: AuditedImages, methods: Methods, *, table: str, command: str
) -> bytes:
    """Return the page, UTF-8.

    Args:
        findings: all of them, the worst first within a kind.
        images: the images.
        methods: how the findings were made.
        table: name of the CSV file.
        command: what applies the table.
    """

    @cache
    def uri(position: int) -> str:
        shown = thumbnail(images.pixels[position], PICTURE_SIDE)
        return "data:image/png;base64," + base64.b64encode(encode_png(shown)).decode()

    def place(position: int) -> str:
        return f"{images.split(position)} {images.index(position)}, {printable(images.files[position], max_length=200)}"

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cifar100.data.audit", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    classes = count_classes(images)
    content = environment.get_template("page.html").render(
        title=printable(images.info.describe(), max_length=200),
        num_train=images.info.num_train,
        num_test=images.info.num_test,
        method=methods.summary,
        sections=[_section(kind, findings, images, methods) for kind in _TITLES],
        classes=classes,
        balance=describe_balance(classes),
        table=table,
        command=command,
        uri=uri,
        place=place,
        name=lambda position: classes[images.labels[position]].name,
    )
    return content.encode()


def count_classes(images: AuditedImages) -> list[ClassCount]:
    """Return the number of images of each class."""
    num_train, num_classes = images.info.num_train, images.info.num_classes
    train = np.bincount(images.labels[:num_train], minlength=num_classes).tolist()
    test = np.bincount(images.labels[num_train:], minlength=num_classes).tolist()
    return [
        ClassCount(name=printable(name, max_length=60), train=train[label], test=test[label], share=share)
        for label, (name, share) in enumerate(
            zip(images.info.class_names, [count / max(train) for count in train], strict=True)
        )
    ]


def describe_balance(classes: Sequence[ClassCount]) -> str:
    """Return a sentence about the sizes of the classes in the training images."""
    ordered = sorted(classes, key=lambda item: item.train)
    least, most = ordered[0], ordered[-1]
    if least.train == most.train:
        return f"Balanced: {most.train:,} training images in each of {len(classes):,} classes."
    ratio = f"{most.train / least.train:.1f} times as many" if least.train else "and some class has none"
    return (
        f"From {least.train:,} training images ({least.name}) to {most.train:,} ({most.name}), {ratio}; "
        f"the median is {ordered[len(ordered) // 2].train:,}."
    )


def _section(kind: Kind, findings: Sequence[Finding], images: AuditedImages, methods: Methods) -> dict[str, object]:
    mine = [finding for finding in findings if finding.kind == kind]
    how = {
        "exact_duplicate": "Every pixel is equal. Each copy is shown beside the first image of these pixels.",
        "near_duplicate": (
            f"{methods.near_duplicates} The score is the correlation of their details, also mirrored; it is at least "
            f"{MIN_SIMILARITY:g}."
        ),
        "label": methods.labels,
        "oddity": (
            f"Too dark: 99 % of the pixels have no channel above {DARK_VALUE} of 255. Nearly uniform: the pixels "
            f"deviate less than {UNIFORM_STD:g} of 255 from the mean colour. {methods.odd}"
        ),
    }
    return {
        "kind": kind,
        "title": _TITLES[kind],
        "how": how[kind],
        "none": "None found.",
        "findings": mine[:MAX_SHOWN],
        "counts": _counts(mine, images, is_paired="duplicate" in kind),
    }


def _counts(findings: Sequence[Finding], images: AuditedImages, *, is_paired: bool) -> list[int | None]:
    """Return the numbers: all, within training, between the splits, within test, of two classes."""
    between = sum(crosses_splits(finding, images) for finding in findings)
    train = sum(images.split(finding.position) == "train" for finding in findings) - between
    two = sum(crosses_classes(finding, images) for finding in findings)
    inner = [between if is_paired else None, len(findings) - between - train, two if is_paired else None]
    return [len(findings), train, *inner]
