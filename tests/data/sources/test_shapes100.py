from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cifar100.data.sources import shapes100 as generated
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


drawn_as_the_reference = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="OpenCV rounds differently on other processors"
)


@drawn_as_the_reference
def test_a_small_set_is_drawn_as_the_reference() -> None:
    small = draw(train_per_class=6, test_per_class=2)
    assert small.train.sha256() == "09511a4920e91f692bd9f843450e658d0fbcd3f53a3357b0700247a062b75934"
    assert small.test.sha256() == "de2e9cbb489f87d7e87f27f460aeffd0dce9855c708e8a75651291d046228bb7"


@pytest.mark.slow
@drawn_as_the_reference
def test_the_full_set_is_the_reference() -> None:
    full = draw()
    assert len(full.train.images) + len(full.test.images) == generated.NUM_IMAGES
    assert {"train": full.train.sha256(), "test": full.test.sha256()} == generated.SHA256


def test_another_seed_gives_other_images(release: Release) -> None:
    assert not set(sums(draw(train_per_class=12, test_per_class=4, seed=1))) & set(sums(release))


def test_the_number_of_threads_decides_nothing(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    for num_threads in (1, 5):
        monkeypatch.setattr(generated, "ThreadPoolExecutor", lambda _, n=num_threads: ThreadPoolExecutor(n))
        assert sums(draw(train_per_class=12, test_per_class=4)) == sums(release)


def test_no_image_is_in_the_data_set_twice(release: Release) -> None:
    images = [image.tobytes() for split in (release.train, release.test) for image in split.images]
    assert len(set(images)) == len(images)


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
