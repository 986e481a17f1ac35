"""Accuracy on corrupted images, from any source: a loop over the conditions as the oracle, and the intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from cifar100.results.measures import fraction
from cifar100.results.robustness import corruptions
from cifar100.results.robustness.corruptions import COUNTED, EXTRA, CorruptionFigures, measure_corruptions

NUM_IMAGES = 12


class Source:
    """Images whose first red pixel is the label that a network sees: right with a probability by severity."""

    description = "a test"
    is_official = True

    def __init__(self, labels: NDArray[np.int64], names: tuple[str, ...], *, batch: int = 5) -> None:
        rng = np.random.default_rng(0)
        self.names = names
        self.batch = batch
        self.images = {}
        for name, severity in itertools.product(names, range(1, 6)):
            images = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
            images[:, 0, 0, 0] = np.where(rng.random(len(labels)) < severity / 6, 99, labels)
            self.images[name, severity] = images

    def batches(self, name: str, severity: int) -> Iterator[NDArray[np.uint8]]:
        images = self.images[name, severity]
        for start in range(0, len(images), self.batch):
            yield images[start : start + self.batch]


def predict(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    assert images.shape[1:] == (3, 32, 32)
    assert images.flags.c_contiguous
    return images[:, 0, 0, 0].astype(np.int64)


def measured(names: tuple[str, ...], *, batch: int = 5) -> tuple[CorruptionFigures, Source]:
    labels = np.arange(NUM_IMAGES) % 4
    source = Source(labels, names, batch=batch)
    return measure_corruptions(source, labels, predict), source


def test_the_accuracies_are_those_of_a_loop() -> None:
    figures, source = measured(COUNTED + EXTRA)
    rates = {
        key: sum(int(image[0, 0, 0] == index % 4) for index, image in enumerate(images)) / NUM_IMAGES
        for key, images in source.images.items()
    }
    for name, accuracy in (figures.by_corruption | figures.extra).items():
        expected = [rates[name, severity] for severity in range(1, 6)]
        assert [estimate.value for estimate in accuracy.by_severity] == expected
        assert accuracy.mean.value == pytest.approx(np.mean(expected))
    mean = np.mean([rates[name, severity] for name in COUNTED for severity in range(1, 6)])
    assert figures.mean_accuracy.value == pytest.approx(mean)
    assert figures.mean_error == pytest.approx(1 - mean)
    assert (tuple(figures.by_corruption), tuple(figures.extra), figures.left_out) == (COUNTED, EXTRA, ())


def test_what_a_source_lacks_is_named() -> None:
    figures, _ = measured(tuple(name for name in COUNTED if name not in ("frost", "snow")))
    assert figures.left_out == ("snow", "frost")
    assert len(figures.by_corruption) == 13


def test_the_batches_do_not_matter() -> None:
    assert measured(COUNTED, batch=1)[0] == measured(COUNTED, batch=NUM_IMAGES)[0]


def test_the_interval_of_a_mean_is_over_the_images() -> None:
    rng = np.random.default_rng(0)
    one = rng.random(2000) < 0.7
    repeated = corruptions._mean_over_conditions(np.stack([one] * 75))
    assert repeated.num_images == 2000
    assert repeated.interval == pytest.approx(fraction(int(one.sum()), 2000).interval, abs=1e-3)  # nothing is gained
    independent = corruptions._mean_over_conditions(rng.random((75, 2000)) < 0.7)
    width = independent.interval[1] - independent.interval[0]
    assert width == pytest.approx(2 * 1.96 * (0.7 * 0.3 / (75 * 2000)) ** 0.5, rel=0.05)


def test_a_network_that_is_always_right() -> None:
    estimate = corruptions._mean_over_conditions(np.ones((5, 10), dtype=np.bool_))
    assert (estimate.value, estimate.interval) == (1.0, (1.0, 1.0))


def test_an_error_of_a_source_reaches_the_caller() -> None:
    class Broken(Source):
        def batches(self, name: str, severity: int) -> Iterator[NDArray[np.uint8]]:
            yield from itertools.islice(super().batches(name, severity), 1)
            raise OSError("gone")

    labels = np.arange(NUM_IMAGES)
    with pytest.raises(OSError, match="gone"):
        measure_corruptions(Broken(labels, COUNTED), labels, predict)
