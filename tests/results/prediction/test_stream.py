"""Predictions in batches; how images are found and read is tested in test_inputs.py and test_given_images.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trained_networks import ColourNetwork, stub

from cifar100.data import given_images
from cifar100.errors import UserError
from cifar100.results.prediction.inputs import find_images
from cifar100.results.prediction.stream import Classifier, Prediction, PredictionStream, Wanted


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Ten images of different colours and sizes."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.new("RGB", (20 + number, 30), tuple(generator.integers(0, 256, 3).tolist())).save(path)
    return paths


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ColourNetwork:
    monkeypatch.setattr(given_images, "BATCH_SIZE", 4)
    torch.manual_seed(0)
    return ColourNetwork(6)


def classify(classifier: Classifier, images: Any, **wanted: Any) -> Iterator[Prediction]:
    return PredictionStream(classifier, find_images(images), Wanted(**wanted))


def test_batches_are_limited_and_predictions_are_those_of_single_images_in_order(
    files: list[Path], network: ColourNetwork
) -> None:
    together = list(classify(stub(network), files, top=6))
    assert network.batch_sizes == [4, 4, 2]
    assert [prediction.image for prediction in together] == [str(file) for file in files]
    for file, prediction in zip(files, together, strict=True):
        (alone,) = classify(stub(network), [file], top=6)
        assert [entry.name for entry in alone.classes] == [entry.name for entry in prediction.classes]
        probabilities = [entry.probability for entry in prediction.classes]
        assert probabilities == pytest.approx([entry.probability for entry in alone.classes], abs=1e-6)
    assert len({tuple(entry.probability for entry in prediction.classes) for prediction in together}) == 10


def test_probabilities_are_the_softmax_of_the_logits(files: list[Path], network: ColourNetwork) -> None:
    (prediction,) = classify(stub(network), files[:1], top=2)
    with Image.open(files[0]) as image:
        colour = torch.tensor(image.getpixel((0, 0))) / 255
    expected = network.head(colour).softmax(0).topk(2)
    assert [entry.probability for entry in prediction.classes] == pytest.approx(expected.values.tolist(), rel=1e-5)
    assert [entry.name for entry in prediction.classes] == ["abcdef"[index] for index in expected.indices.tolist()]
    for entry in prediction.classes:
        assert entry.superclass == ("first" if entry.name in "abc" else "second")


def test_predictions_arrive_before_later_files_are_read(files: list[Path], network: ColourNetwork) -> None:
    files[9].write_text("no image")
    stream = classify(stub(network), files, top=1)
    assert [prediction.image for prediction in itertools.islice(stream, 8)] == [str(file) for file in files[:8]]
    assert network.batch_sizes == [4, 4]
    assert next(stream).image == str(files[8])
    with pytest.raises(UserError, match=r"9\.png is damaged or not an image \(8 bytes\)"):
        next(stream)


def test_an_image_that_cannot_be_read_is_kept_if_it_is_wanted(files: list[Path], network: ColourNetwork) -> None:
    whole = list(classify(stub(network), files, top=1))
    for index in (0, 5, 6, 9):
        files[index].write_text("no image")
    found = list(classify(stub(network), files, top=1, errors="keep"))
    for index, (expected, prediction) in enumerate(zip(whole, found, strict=True)):
        if index in (0, 5, 6, 9):
            assert (prediction.image, prediction.classes) == (expected.image, [])
            assert str(prediction.error).startswith(f"{files[index]} is damaged")
        else:
            assert prediction.error is None
            assert prediction.classes[0].name == expected.classes[0].name
            assert prediction.classes[0].probability == pytest.approx(expected.classes[0].probability, rel=1e-5)
    for file in files:
        file.unlink()
    assert all(prediction.error for prediction in classify(stub(network), files, errors="keep"))


def test_every_probability_if_it_is_wanted(files: list[Path], network: ColourNetwork) -> None:
    (prediction,) = classify(stub(network), files[0], top=2, probabilities=True)
    assert prediction.probabilities is not None
    assert list(prediction.probabilities) == list("abcdef")
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    for entry in prediction.classes:
        assert prediction.probabilities[entry.name] == entry.probability
    digits = [len(str(probability)) for probability in prediction.probabilities.values()]
    assert max(digits) <= 14  # the shortest text of a float32


def test_an_iterator_is_classified_while_it_goes_on(network: ColourNetwork) -> None:
    made = []

    def endless() -> Iterator[Any]:
        for number in itertools.count():
            made.append(number)
            yield np.full((32, 32, 3), number % 256, np.uint8)

    stream = classify(stub(network), endless(), top=1)
    assert [prediction.image for prediction in itertools.islice(stream, 20)] == [f"images[{n}]" for n in range(20)]
    assert len(made) <= 20 + 4 + 2 * given_images.MAX_THREADS


def test_the_number_of_images_is_known_if_they_are_named(files: list[Path], network: ColourNetwork) -> None:
    assert PredictionStream(stub(network), find_images(files)).total == 10
    assert PredictionStream(stub(network), find_images(iter(files))).total is None


def test_top_must_be_positive_and_is_at_most_the_number_of_classes(files: list[Path], network: ColourNetwork) -> None:
    with pytest.raises(UserError, match="--top is 0, but it must be a whole number of at least 1"):
        Wanted(top=0)
    with pytest.raises(UserError, match="errors is ignore, but it must be raise or keep"):
        Wanted(errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="probabilities is 1, but it must be True or False"):
        Wanted(probabilities=1)  # type: ignore[arg-type]
    (prediction,) = classify(stub(network), files[:1], top=99)
    assert len(prediction.classes) == 6
