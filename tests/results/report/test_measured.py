"""What is shown of an evaluation, against direct computations on its logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measured_runs import info_of, measured_run, save_measurement
from numpy.typing import NDArray
from scipy.special import softmax
from trained_networks import INFO

from cifar100.errors import UserError
from cifar100.results.report.facts import read_facts
from cifar100.results.report.measured import Measured, read_measured
from cifar100.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return measured_run(tmp_path / "run", INFO)


def read(run: RunFolder) -> Measured:
    measured = read_measured(read_facts(run))
    assert measured is not None
    return measured


def probabilities(measured: Measured) -> NDArray[np.float64]:
    return softmax(measured.saved.logits.astype(np.float64), axis=1)


def test_top_losses_are_the_most_confident_errors(run: RunFolder) -> None:
    measured = read(run)
    everything = probabilities(measured)
    wrong = [index for index in range(120) if everything[index].argmax() != measured.saved.labels[index]]
    expected = sorted(wrong, key=lambda index: -everything[index].max())[:40]
    losses = measured.top_losses()
    assert [loss.index for loss in losses] == expected
    assert [loss.probability for loss in losses] == pytest.approx(everything[expected].max(axis=1), rel=1e-5)
    labels = measured.saved.labels[expected]
    assert [loss.label_probability for loss in losses] == pytest.approx(everything[expected, labels], rel=1e-4)
    assert [loss.label for loss in losses] == ["abcdef"[label] for label in labels]
    assert [loss.prediction for loss in losses] == ["abcdef"[row.argmax()] for row in everything[expected]]


def test_the_rows_of_the_classes_are_counted(run: RunFolder) -> None:
    measured = read(run)
    labels, predicted = measured.saved.labels, measured.saved.predicted
    rows = measured.class_rows()
    assert [row.recall for row in rows] == sorted(row.recall for row in rows)
    for row in rows:
        own, taken = labels == row.label, predicted == row.label
        assert (row.support, row.superclass) == (20, "first" if row.label < 3 else "second")
        assert row.recall == pytest.approx(taken[own].mean())
        assert row.precision == pytest.approx(own[taken].mean())
        others = np.bincount(predicted[own & ~taken], minlength=6)
        assert row.num_confused == others.max()
        assert others["abcdef".index(row.confused_with)] == others.max()


def test_error_by_coverage(run: RunFolder) -> None:
    measured = read(run)
    order = np.argsort(-probabilities(measured).max(axis=1))
    for fraction, error in measured.errors_by_coverage():
        assert error == pytest.approx(1 - measured.correct[order[: round(120 * fraction)]].mean())


def test_test_images_come_before_validation_images(run: RunFolder, tmp_path: Path) -> None:
    save_measurement(run, INFO, torch.eye(6), torch.arange(6), split="validation")
    assert (read(run).split, read(run).images) == ("test", "120 test images")
    run.evaluation("test").unlink()
    assert (read(run).split, read(run).images) == ("validation", "6 validation images")
    run.evaluation("validation").unlink()
    assert read_measured(read_facts(run)) is None


def test_an_evaluation_of_other_classes_is_refused(run: RunFolder) -> None:
    info = info_of("xyz")
    save_measurement(run, info, torch.eye(3), torch.arange(3))
    with pytest.raises(UserError, match=r"has 3 classes, but the run was trained on 6; measure again: cifar100 eval"):
        read(run)


def test_an_evaluation_of_another_version_is_refused(run: RunFolder) -> None:
    save_measurement(run, INFO, torch.eye(6), torch.arange(6), calibration={"temperature": "hot"})
    with pytest.raises(UserError, match=r"cannot be shown \(it.calibration.temperature is .*measure again"):
        read(run)
