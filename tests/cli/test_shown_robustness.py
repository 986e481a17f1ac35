"""The rows that `evaluate` prints about near-duplicates, label errors and corruptions."""

from __future__ import annotations

import pytest
from rich.table import Table

from cifar100.cli.shown_robustness import add_robustness
from cifar100.results.measures import fraction
from cifar100.results.robustness.corruptions import CorruptionAccuracy, CorruptionFigures
from cifar100.results.robustness.duplicates import DuplicateFigures
from cifar100.results.robustness.label_errors import LabelErrorFigures
from cifar100.results.robustness.parts import Robustness
from cifar100.terminal import show

HALF = fraction(50, 100)


def rows(robustness: Robustness, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    add_robustness(table, robustness)
    show(table)
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in capsys.readouterr().out.splitlines()
    ]


def test_near_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    figures = DuplicateFigures(
        list="my\x1b[2Jlist",
        list_sha256="",
        without_duplicates=HALF,
        without_exact_and_near=fraction(60, 100),
        only_duplicates=fraction(70, 100),
        by_judgment={"near": fraction(80, 100)},
    )
    found = rows(Robustness(duplicates=figures), capsys)
    assert found[0] == ["near-duplicates", "top-1 accuracy, by my\\x1b[2Jlist"]
    assert found[1] == ["without them", "50.00%", "40.38% to 59.62%; 100 images"]
    assert [row[:2] for row in found[2:]] == [
        ["without exact and near", "60.00%"],
        ["on them", "70.00%"],
        ["near", "80.00%"],
    ]


def test_label_errors(capsys: pytest.CaptureFixture[str]) -> None:
    figures = LabelErrorFigures(
        list="a list",
        list_sha256="",
        without_errors=HALF,
        corrected=HALF,
        num_errors=6,
        num_corrected=3,
        num_either=2,
        num_left_out=1,
    )
    found = rows(Robustness(label_errors=figures), capsys)
    assert found[0] == ["label errors", "top-1 accuracy, by a list: 6 errors"]
    assert found[2][2].endswith("100 images, 3 with another label, 2 with two, 1 left out")


def test_generated_corruptions_are_said_to_be_generated(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = CorruptionAccuracy(mean=HALF, by_severity=tuple(fraction(60 - 5 * level, 100) for level in range(5)))
    figures = CorruptionFigures(
        source="generated with a library; not CIFAR-100-C",
        is_official=False,
        mean_accuracy=HALF,
        mean_error=0.5,
        by_corruption={"gaussian_noise": accuracy},
        extra={"spatter": accuracy},
        left_out=("snow", "frost"),
    )
    found = rows(Robustness(corruptions=figures), capsys)
    assert found[0] == ["corruptions", "top-1 accuracy on images generated with a library; not CIFAR-100-C"]
    assert found[1] == ["mean of 1", "50.00%", "40.38% to 59.62%; 100 images; mean error 50.00%"]
    assert found[2][0] == "gaussian noise"
    assert found[2][2].endswith("by severity 60.0%, 55.0%, 50.0%, 45.0%, 40.0%")
    assert found[3][0] == "spatter, not counted"
    assert found[4] == ["left out", "snow, frost, without a counterpart in Albumentations"]
