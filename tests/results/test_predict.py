"""Predictions in batches; how an image is read is tested in tests/data/folder/test_image_files.py."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trained_networks import ColourNetwork, stub

from cifar100.errors import UserError
from cifar100.results import predict
from cifar100.results.predict import classify
from cifar100.runs import trained_network


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
    monkeypatch.setattr(predict, "BATCH_SIZE", 4)
    torch.manual_seed(0)
    return ColourNetwork(6)


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
    with pytest.raises(UserError, match=r"9\.png is damaged or not an image \(8 bytes\)"):
        next(stream)


def test_the_largest_batch_is_that_of_a_trained_network() -> None:
    assert predict.BATCH_SIZE == trained_network.BATCH_SIZE == 256


def test_top_must_be_positive_and_is_at_most_the_number_of_classes(files: list[Path], network: ColourNetwork) -> None:
    with pytest.raises(UserError, match="--top is 0, but it must be a whole number of at least 1"):
        list(classify(stub(network), files, top=0))
    (prediction,) = classify(stub(network), files[:1], top=99)
    assert len(prediction.classes) == 6
