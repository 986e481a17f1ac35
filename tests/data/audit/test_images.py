"""Both splits in one sequence, without a copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photographs import photographs

from cifar100.data.audit.images import AuditedImages, JoinedImages, as_many_as
from cifar100.data.folder.layout import DataFolder
from cifar100.results.audit import find_all
from cifar100.results.evaluation_data import every_image

ONE, TWO = photographs(5, seed=1), photographs(3, seed=2)
ALL = np.concatenate([ONE, TWO])


def test_parts_are_those_of_one_array() -> None:
    joined = JoinedImages(ONE, TWO)
    assert (joined.shape, len(joined)) == (ALL.shape, 8)
    for index in (slice(None), slice(3, 6), slice(6, 100), slice(0, 0), np.array([7, 0, 5, 4, 7]), np.array([], int)):
        np.testing.assert_array_equal(joined[index], ALL[index])
    for position, image in enumerate(joined):
        np.testing.assert_array_equal(image, ALL[position])
        np.testing.assert_array_equal(joined[position], image)


@pytest.mark.parametrize("index", [8, -1, np.array([2, 8])])
def test_there_is_nothing_beyond_the_last(index: int) -> None:
    with pytest.raises(IndexError, match="not from 0 to 7"):
        JoinedImages(ONE, TWO)[index]


def test_an_audit_maps_the_images(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DataFolder(tiny_data)
    pixels, labels = (np.concatenate(parts) for parts in zip(*map(folder.load, ("train", "test")), strict=True))
    mapped: list[str] = []
    map_images = DataFolder.map_images
    monkeypatch.setattr(DataFolder, "map_images", lambda self, split: mapped.append(split) or map_images(self, split))
    images = every_image(tiny_data)
    assert mapped == ["train", "test"]
    np.testing.assert_array_equal(images.pixels[:], pixels)
    np.testing.assert_array_equal(images.labels, labels)


def test_the_findings_are_those_of_one_array(images: AuditedImages) -> None:
    pixels = images.pixels[:].copy()
    pixels[7], pixels[9], pixels[4] = pixels[2], pixels[0][..., ::-1], 0
    found = find_all(replace(images, pixels=pixels), None)
    assert {finding.kind for finding in found} == {"exact_duplicate", "near_duplicate", "oddity"}
    assert find_all(replace(images, pixels=JoinedImages(pixels[:6], pixels[6:])), None) == found


def test_large_images_are_looked_at_in_smaller_parts(images: AuditedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.broadcast_to(np.zeros((), dtype=np.uint8), (10, 3, 256, 256))
    assert (as_many_as(1000, images.pixels), as_many_as(1000, large), as_many_as(10, large)) == (1000, 15, 1)
    pixels = images.pixels[:].copy()
    pixels[7], pixels[9], pixels[4] = pixels[2], pixels[0][..., ::-1], 0
    found = find_all(replace(images, pixels=pixels), None)
    monkeypatch.setattr("cifar100.data.audit.images.IMAGE_SIDE", 1)  # one image at a time
    in_parts = find_all(replace(images, pixels=pixels), None)
    assert [replace(finding, score=0) for finding in in_parts] == [replace(finding, score=0) for finding in found]
    assert [finding.score for finding in in_parts] == pytest.approx([finding.score for finding in found])
