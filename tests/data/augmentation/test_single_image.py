import os
import subprocess
import sys

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.flip import Flip
from cifar100.data.augmentation.single_image import build_transform
from cifar100.data.image_batches import normalize
from cifar100.data.loading.dataset import augment_image
from cifar100.data.sampler import place_generator

INDICES = 1500
RAMP = np.broadcast_to((40 + 5 * np.arange(32, dtype=np.uint8))[None, :, None], (32, 32, 3)).copy()  # to the right


def results(augmentation, image=RAMP):
    """What becomes of one image at many indices."""
    transform = build_transform(augmentation)
    return np.stack([augment_image(image, transform, place_generator(0, 0, index)) for index in range(INDICES)])


def settings(**changes):
    return AugmentationConfig(**({"flip": "none", "crop_padding": 0} | changes))


def test_flip_and_cutout_happen_to_half_of_the_images_independently():
    images = results(settings(flip="random", cutout=16))
    flipped = images[:, :, 0, 0].max(axis=1) > 150
    has_hole = (images == 0).any(axis=(1, 2, 3))
    fractions = [np.mean((flipped == flip) & (has_hole == hole)) for flip in (False, True) for hole in (False, True)]
    np.testing.assert_allclose(fractions, 0.25, atol=0.05)


def test_hole_is_black_square_wholly_inside_and_everywhere():
    images = results(settings(cutout=16, cutout_probability=1))
    assert ((images == 0).all(axis=3).sum(axis=(1, 2)) == 256).all()
    tops = (images == 0).all(axis=3).any(axis=2).argmax(axis=1)
    assert sorted(set(tops.tolist())) == list(range(17))


def test_crop_is_one_of_all_reflected_cuts():
    padded = cv2.copyMakeBorder(RAMP, 4, 4, 4, 4, cv2.BORDER_REFLECT_101)
    lefts = set()
    for image in results(settings(crop_padding=4))[:300]:
        matches = [left for left in range(9) if np.array_equal(image, padded[:32, left : left + 32])]
        assert len(matches) == 1
        lefts.update(matches)
    assert lefts == set(range(9))


def test_shift_is_uniform_and_not_cut_off_to_whole_pixels():
    images = results(settings(shift=0.0625, affine_probability=1))
    shifts = (RAMP[16, 16, 0] - images[:, 16, 16, 0].astype(float)) / 5  # in fifths of a pixel
    assert len(set(shifts.tolist())) == 21
    assert shifts.std() == pytest.approx(4 / 12**0.5, rel=0.05)
    assert abs(shifts.mean()) < 0.1


def test_scale_keeps_the_aspect_ratio():
    dot = np.zeros((32, 32, 3), dtype=np.uint8)
    cv2.circle(dot, (16, 16), 8, (255, 255, 255), -1)
    images = results(settings(scale=0.3, affine_probability=1), dot)[..., 0] > 127
    heights, widths = images.any(axis=2).sum(axis=1), images.any(axis=1).sum(axis=1)
    assert np.abs(heights - widths).max() <= 1
    assert heights.min() <= 13
    assert heights.max() >= 21


def test_rotation_reflects_at_the_border():
    bright = np.full((32, 32, 3), 255, dtype=np.uint8)
    assert (results(settings(rotate=45, affine_probability=1), bright)[:50] == 255).all()


def test_affine_probability():
    changed = (results(settings(rotate=45, affine_probability=0.3)) != RAMP).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(0.3, abs=0.05)


def test_everything_off_changes_nothing():
    assert (results(settings())[:5] == RAMP).all()


def test_unknown_argument_is_an_error(monkeypatch):
    monkeypatch.setattr(Flip, "transforms", lambda _, side: [A.HorizontalFlip(probability=0.5)])
    with pytest.raises(UserWarning, match="probability"):
        build_transform(AugmentationConfig())


def test_normalize_equals_that_of_albumentations():
    mean, std = (0.50736207, 0.4866896, 0.44108862), (0.26748818, 0.2565931, 0.2763085)
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = A.Normalize(mean, std)(image=images[0].permute(1, 2, 0).numpy())["image"]
    ours = normalize(images, torch.tensor(mean), torch.tensor(std))[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_an_augmentation_for_whole_batches_is_refused():
    with pytest.raises(NotImplementedError, match="RandomErasing changes whole batches only"):
        build_transform(settings(random_erasing_probability=0.5))


PROGRAM = """
import socket
attempts = []
def refuse(*arguments, **settings):
    attempts.append(arguments)
    raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
import sys, warnings
warnings.simplefilter("ignore")
{program}
print(len(attempts))
"""

OURS = """
from cifar100.data.augmentation.registry import discover
discover()
assert not {"albumentations", "cv2"} & set(sys.modules)
import cifar100.data.augmentation.single_image
assert {"albumentations", "cv2"} <= set(sys.modules)
"""


@pytest.mark.parametrize(("program", "asks"), [(OURS, False), ("import albumentations", True)], ids=["ours", "theirs"])
def test_only_this_module_imports_albumentations_and_it_does_not_ask_the_network(program, asks):
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    program = PROGRAM.format(program=program)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 0) == asks  # left to itself it does ask, so this test can fail
