from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from cifar100.data.sources import shapes100 as generated
from cifar100.data.sources.outlines import OUTLINES
from cifar100.data.sources.release import Release, ReleaseSplit
from cifar100.data.sources.shapes100 import CLASS_NAMES, SUPERCLASS_NAMES, draw


@pytest.fixture(scope="module")
def release() -> Release:
    return draw(train_per_class=12, test_per_class=4)


def sums(release: Release) -> tuple[str, str]:
    return release.train.sha256(), release.test.sha256()


def test_it_has_the_shape_of_cifar100(release: Release) -> None:
    for split, per_class in ((release.train, 12), (release.test, 4)):
        assert split.images.shape == (100 * per_class, 3, 32, 32)
        assert split.images.dtype == np.uint8
        assert split.images.flags.c_contiguous
        assert np.bincount(split.fine_labels).tolist() == [per_class] * 100
        assert np.bincount(split.coarse_labels).tolist() == [5 * per_class] * 20
        assert (np.diff(split.fine_labels) < 0).any(), "the classes are in order instead of mixed"


def test_names_are_alphabetical_and_tell_the_superclass(release: Release) -> None:
    assert list(CLASS_NAMES) == sorted(set(CLASS_NAMES))
    assert len(CLASS_NAMES) == 100
    assert list(SUPERCLASS_NAMES) == sorted(set(SUPERCLASS_NAMES))
    assert len(SUPERCLASS_NAMES) == 20
    for fine, coarse in zip(release.train.fine_labels, release.train.coarse_labels, strict=True):
        assert release.class_names[fine].endswith(f"_{release.superclass_names[coarse]}")


def test_the_seed_decides_every_pixel(release: Release) -> None:
    again, other = draw(train_per_class=12, test_per_class=4), draw(train_per_class=12, test_per_class=4, seed=1)
    assert sums(again) == sums(release)
    assert not set(sums(other)) & set(sums(release))


def test_the_number_of_threads_decides_nothing(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    for num_threads in (1, 5):
        monkeypatch.setattr(generated, "ThreadPoolExecutor", lambda _, n=num_threads: ThreadPoolExecutor(n))
        assert sums(draw(train_per_class=12, test_per_class=4)) == sums(release)


def test_no_image_is_in_the_data_set_twice(release: Release) -> None:
    images = [image.tobytes() for split in (release.train, release.test) for image in split.images]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_fill_the_unit_circle(name: str) -> None:
    points = np.concatenate(OUTLINES[name])
    assert 0.85 < np.hypot(*points.T).max() <= 1 + 1e-9
    canvas = np.zeros((200, 200), dtype=np.uint8)
    cv2.fillPoly(canvas, [np.rint(100 + 99 * contour).astype(np.int32) for contour in OUTLINES[name]], 1)
    assert canvas.mean() > 0.1, "too thin to carry a texture"
    assert cv2.connectedComponents(canvas, connectivity=4)[0] == 2, "one piece on one background"


def pixel_accuracy(release: Release) -> float:
    """Test accuracy of the class whose mean image is nearest."""
    images = release.train.images.reshape(len(release.train.images), -1).astype(np.float64)
    means = np.stack([images[release.train.fine_labels == label].mean(axis=0) for label in range(100)])
    test = release.test.images.reshape(len(release.test.images), -1).astype(np.float64)
    distances = np.square(means).sum(axis=1) - 2 * test @ means.T
    return float((distances.argmin(axis=1) == release.test.fine_labels).mean())


def test_pixels_alone_tell_nothing() -> None:
    assert pixel_accuracy(draw(train_per_class=30, test_per_class=10)) < 0.04  # chance is 0.01


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_small_network_learns_what_a_linear_one_cannot() -> None:
    import torch
    from torch import nn

    def block(inputs: int, outputs: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    def tensors(split: ReleaseSplit) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(split.images).float() / 255 - 0.5, torch.from_numpy(split.fine_labels)

    def accuracy(network: nn.Module, *, rate: float, epochs: int) -> float:
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs * (len(images) // 64))
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(64):
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            predictions = network.eval()(test_images).argmax(dim=1)
        return (predictions == test_labels).float().mean().item()

    release = draw(train_per_class=200, test_per_class=20)
    (images, labels), (test_images, test_labels) = tensors(release.train), tensors(release.test)
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3072, 100))
    small = nn.Sequential(
        *(block(3, 24), nn.MaxPool2d(2), block(24, 48), block(48, 48), nn.MaxPool2d(2), block(48, 96), block(96, 96)),
        *(nn.MaxPool2d(2), block(96, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 100)),
    ).to(memory_format=torch.channels_last)
    linear_accuracy = accuracy(linear, rate=0.01, epochs=2)
    small_accuracy = accuracy(small, rate=0.1, epochs=3)
    assert linear_accuracy < 0.05  # measured: 0.01
    assert small_accuracy > 0.15  # measured: 0.26
