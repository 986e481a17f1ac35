"""CutMix against a loop over single images."""

from __future__ import annotations

import pytest
import torch
from augmentation_variants import random_for

from cifar100.data.augmentation.cutmix import CutMix

N = 50
CUTMIX = CutMix(cutmix_probability=1)


@pytest.mark.parametrize("side", [20, 32])
def test_cutmix_pastes_a_box_of_the_partner_and_blends_the_labels_by_area(side):
    images = torch.randn(N, 3, side, side, generator=torch.Generator().manual_seed(0))
    parameters = CUTMIX.draw(random_for(CUTMIX, N))
    mixed, labels = CUTMIX.apply(images, torch.arange(N), parameters, num_classes=N)
    for index, (top, left, height, width) in enumerate(parameters.boxes(side).tolist()):
        partner = int(parameters.partners[index])
        expected, expected_label = images[index].clone(), torch.zeros(N)
        place = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[place] = images[partner][place]
        assert torch.equal(mixed[index], expected)
        expected_label[index] += 1 - height * width / side**2
        expected_label[partner] += height * width / side**2
        torch.testing.assert_close(labels[index], expected_label)


def test_boxes_stay_inside_and_are_square_unless_cut_off():
    parameters = CUTMIX.draw(random_for(CUTMIX, 20_000))
    top, left, height, width = parameters.boxes(32).unbind(1)
    assert min(top.min(), left.min(), height.min(), width.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    inside = (top > 0) & (left > 0) & (top + height < 32) & (left + width < 32)
    assert torch.equal(height[inside], width[inside])
    torch.testing.assert_close(height[inside], (32 * parameters.areas[inside].sqrt()).long())


def test_boxes_are_at_the_same_place_at_every_resolution():
    parameters = CUTMIX.draw(random_for(CUTMIX, 1000))
    assert ((parameters.boxes(64) / 2 - parameters.boxes(32)).abs() <= 1.5).all()
    assert parameters.boxes(16).max() <= 16


def test_it_is_on_if_its_probability_is_positive():
    assert not CutMix().enabled
    assert CUTMIX.enabled
