"""The crop of whole batches against OpenCV's padding of single images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from augmentation_variants import random_for

from cifar100.data.augmentation.crop import Crop


@pytest.mark.parametrize("padding", [1, 4, 31])
def test_crop_is_that_of_opencv(images, padding):
    corners = torch.randint(2 * padding + 1, (len(images), 2), generator=torch.Generator().manual_seed(3))
    corners[0], corners[1] = torch.tensor([0, 2 * padding]), torch.tensor([2 * padding, 0])
    cropped = Crop(crop_padding=padding).apply(images, corners)
    for image, (top, left), result in zip(images, corners.tolist(), cropped, strict=True):
        rows = image.permute(1, 2, 0).numpy()
        padded = cv2.copyMakeBorder(rows, padding, padding, padding, padding, cv2.BORDER_REFLECT_101)
        assert np.array_equal(result.permute(1, 2, 0), padded[top : top + 32, left : left + 32])


def test_all_cuts_occur_independently_in_both_directions():
    crop = Crop(crop_padding=4)
    corners = crop.draw(random_for(crop, 4000))
    assert sorted(corners.unique().tolist()) == list(range(9))
    assert torch.corrcoef(corners.T.double())[0, 1].abs() < 0.06


def test_no_padding_is_off():
    assert not Crop(crop_padding=0).enabled
