"""Confusion matrices and pairs, counted image by image."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from measured_runs import info_of, measured_run
from PIL import Image

from cifar100.results.report.confusion import RIGHT, WRONG, Matrix, class_matrix, most_confused, superclass_matrix
from cifar100.results.report.facts import read_facts
from cifar100.results.report.measured import Measured, read_measured

NAMES = [f"class {label}" for label in range(40)]
SUPERCLASSES = [(7 * label) % 4 for label in range(40)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    info = info_of(NAMES, superclass_names=tuple("wxyz"), class_to_superclass=tuple(SUPERCLASSES))
    run = measured_run(tmp_path_factory.mktemp("confusion") / "run", info, num_images=800)
    found = read_measured(read_facts(run))
    assert found is not None
    return found


def test_classes_are_sorted_by_superclass(measured: Measured) -> None:
    matrix = class_matrix(measured)
    order = [NAMES.index(name) for name in matrix.names]
    assert order == sorted(range(40), key=lambda label: (SUPERCLASSES[label], label))
    assert list(matrix.groups) == [("w", 0, 10), ("x", 10, 10), ("y", 20, 10), ("z", 30, 10)]
    assert matrix.boundaries() == [10, 20, 30]
    for label, prediction in zip(measured.saved.labels[:50], measured.saved.predicted[:50], strict=True):
        both = (measured.saved.labels == label) & (measured.saved.predicted == prediction)
        assert matrix.counts[order.index(label), order.index(prediction)] == both.sum()


def test_the_cells_for_the_hover_text_are_the_matrix(measured: Measured) -> None:
    matrix = class_matrix(measured)
    cells = matrix.cells()
    rebuilt = np.zeros((40, 40), dtype=np.int64)
    for row, column, count in np.array(cells["cells"]).reshape(-1, 3):
        rebuilt[row, column] = count
    np.testing.assert_array_equal(rebuilt, matrix.counts)
    assert cells["totals"] == [20] * 40
    assert cells["names"] == list(matrix.names)


@pytest.mark.parametrize("is_log", [False, True])
def test_a_picture_has_a_pixel_for_each_cell(measured: Measured, is_log: bool) -> None:
    matrix = class_matrix(measured)
    content = base64.b64decode(matrix.picture(is_log=is_log).removeprefix("data:image/png;base64,"))
    pixels = np.array(Image.open(io.BytesIO(content)))
    assert pixels.shape == (40, 40, 4)
    np.testing.assert_array_equal(pixels[..., 3] > 0, matrix.counts > 0)
    assert pixels[..., 3].max() == 255
    for row, column in zip(*np.nonzero(matrix.counts), strict=True):
        assert tuple(pixels[row, column, :3]) == (RIGHT if row == column else WRONG)
    order = np.argsort(matrix.counts.ravel(), kind="stable")
    assert (np.diff(pixels[..., 3].ravel()[order].astype(int)) >= 0).all()  # each class has as many images


def test_superclasses_are_counted(measured: Measured) -> None:
    matrix = superclass_matrix(measured)
    assert matrix is not None
    expected = np.zeros((4, 4), dtype=np.int64)
    for label, prediction in zip(measured.saved.labels, measured.saved.predicted, strict=True):
        expected[SUPERCLASSES[label], SUPERCLASSES[prediction]] += 1
    np.testing.assert_array_equal(matrix.counts, expected)
    assert matrix.has_numbers


def test_pairs_count_both_directions(measured: Measured) -> None:
    counts: dict[tuple[int, int], int] = {}
    for label, prediction in zip(measured.saved.labels.tolist(), measured.saved.predicted.tolist(), strict=True):
        if label != prediction:
            key = (min(label, prediction), max(label, prediction))
            counts[key] = counts.get(key, 0) + 1
    pairs = most_confused(measured)
    assert [pair.count for pair in pairs] == sorted(counts.values(), reverse=True)[:20]
    confidence = measured.confidence()
    for pair in pairs:
        first, second = pair.directions
        label, other = NAMES.index(first.label), NAMES.index(first.prediction)
        assert (second.label, second.prediction) == (first.prediction, first.label)
        assert pair.count == first.count + second.count == counts[min(label, other), max(label, other)]
        assert first.count >= second.count
        assert first.fraction == first.count / 20
        for direction in pair.directions:
            assert len(direction.examples) == min(3, direction.count)
            for index in direction.examples:
                assert NAMES[measured.saved.labels[index]] == direction.label
                assert NAMES[measured.saved.predicted[index]] == direction.prediction
            shown = [confidence[index] for index in direction.examples]
            assert shown == sorted(shown, reverse=True)


def test_few_classes_are_a_table_and_very_many_are_not_drawn() -> None:
    for number, has_numbers, is_drawn in ((2, True, True), (31, False, True), (1001, False, False)):
        names = [str(label) for label in range(number)]
        matrix = Matrix(names=names, groups=(), counts=np.eye(number, dtype=np.int64))
        assert (matrix.has_numbers, matrix.is_drawn) == (has_numbers, is_drawn)


def test_without_superclasses_the_order_is_that_of_the_labels(tmp_path: Path) -> None:
    measured = read_measured(read_facts(measured_run(tmp_path / "run", info_of("cab"))))
    assert measured is not None
    matrix = class_matrix(measured)
    assert (list(matrix.names), list(matrix.groups)) == (["c", "a", "b"], [])
    np.testing.assert_array_equal(matrix.counts, measured.confusion)
    assert superclass_matrix(measured) is None
