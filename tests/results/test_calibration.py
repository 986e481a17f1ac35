"""Calibration against torchmetrics, brute force and worked examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error
from trained_networks import ColourNetwork, stub

from cifar100.errors import UserError
from cifar100.results.calibration import (
    calibration,
    confidence_and_correctness,
    equal_mass_bins,
    equal_width_bins,
    fit_temperature,
    risk_coverage,
    save_temperature,
    saved_temperature,
    with_temperature,
)
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork


@pytest.fixture(scope="module")
def case() -> tuple[Tensor, Tensor]:
    """Logits of 20,000 images whose labels are drawn from the probabilities of the logits divided by 2.5."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, 10, generator=generator)
    labels = torch.multinomial((logits / 2.5).softmax(1), 1, generator=generator)[:, 0]
    return logits, labels


def test_the_error_in_bins_of_equal_width_is_that_of_torchmetrics(case: tuple[Tensor, Tensor]) -> None:
    expected = multiclass_calibration_error(*case, num_classes=10, n_bins=15, norm="l1").item()
    assert calibration(*case).ece_equal_width == pytest.approx(expected, abs=1e-6)


def test_bins_of_equal_mass_hold_equally_many_images_and_a_worked_error() -> None:
    confidence = np.array([0.9, 0.5, 0.7, 0.6])
    correct = np.array([True, False, True, False])
    bins = equal_mass_bins(confidence, correct, num_bins=2)
    assert bins.num_images.tolist() == [2, 2]
    assert bins.confidence == pytest.approx([0.55, 0.8])
    assert bins.accuracy.tolist() == [0, 1]
    assert bins.error == pytest.approx((0.55 + 0.2) / 2)
    many = np.random.default_rng(0).random(1000)
    assert set(equal_mass_bins(many, many > 0.5).num_images) == {66, 67}


def test_the_borders_of_bins_belong_to_the_lower_bin() -> None:
    bins = equal_width_bins(np.array([0.5, 0.51, 1.0]), np.array([True, True, True]), num_bins=2)
    assert bins.num_images.tolist() == [1, 2]


def test_the_temperature_is_found_again_and_minimises_the_loss(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    best = calibration(logits, labels, temperature=temperature)
    for other in (0.98 * temperature, 1.02 * temperature, 1.0):
        assert best.loss < calibration(logits, labels, temperature=other).loss
    assert best.ece_equal_width < 0.02 < calibration(logits, labels).ece_equal_width


def test_the_risk_at_a_coverage_is_the_error_among_the_most_confident() -> None:
    coverage, risk = risk_coverage(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])


def test_confidence_is_the_largest_probability() -> None:
    confidence, correct = confidence_and_correctness(torch.tensor([[0.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0]))
    assert confidence == pytest.approx([0.5, 1 / (1 + np.exp(-9))])
    assert correct.tolist() == [True, False]


@pytest.fixture
def trained() -> TrainedNetwork:
    return stub(ColourNetwork(6))


def test_a_saved_temperature_holds_for_its_weights_only(trained: TrainedNetwork, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert saved_temperature(run, trained) is None
    save_temperature(1.5, num_images=20, trained=trained, run=run)
    fitted = saved_temperature(run, trained)
    assert fitted is not None
    assert (fitted.temperature, fitted.num_images) == (1.5, 20)
    with pytest.raises(UserError, match=r"no temperature for .* from epoch 9; fit one .* --calibrate"):
        with_temperature(replace(trained, epoch=9), run)
    last = run.checkpoints / "last.ckpt"
    last.parent.mkdir()
    (run.checkpoints / "best.ckpt").touch()
    with pytest.raises(UserError, match=r"--split validation --checkpoint last --calibrate$"):
        with_temperature(replace(trained, checkpoint=last), run)
    resumed = replace(trained, step=75)
    assert saved_temperature(run, resumed) is not None  # earlier versions recorded no step
    save_temperature(1.5, num_images=20, trained=resumed, run=run)
    assert saved_temperature(run, replace(trained, step=90)) is None  # of the same epoch


def test_a_temperature_divides_the_logits(trained: TrainedNetwork, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    save_temperature(2.0, num_images=20, trained=trained, run=run)
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = (trained.logits(images) / 2).softmax(dim=1)
    torch.testing.assert_close(with_temperature(trained, run)(images), expected)


@pytest.mark.parametrize("content", ["", "[]", '{"temperature": -1}', '{"temperature": "2"}'])
def test_a_damaged_file_is_one_line(trained: TrainedNetwork, tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path)
    run.calibration.write_text(content)
    with pytest.raises(UserError, match=r"calibration.json cannot be read \(.*fit it again"):
        saved_temperature(run, trained)
