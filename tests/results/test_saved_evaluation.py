"""What `evaluate` saves is read back; what was damaged, altered or mixed up is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cifar100.errors import UserError
from cifar100.results.saved_evaluation import load_evaluation, save_evaluation
from cifar100.runs.folder import RunFolder

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [70_000.0, 1.0, 0.0], [0.10000001, 0.10000002, 0.0]])
LABELS = torch.tensor([2, 0, 1])

CONTENT = {
    "metrics": {"accuracy": {"value": 1.0, "interval": [0.4, 1.0], "num_images": 3}},
    "per_class": {},
    "split": "test",
    "images_sha256": "",
    "num_images": 3,
    "checkpoint": "best.ckpt",
    "epoch": 1,
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    save_evaluation(CONTENT, run, split="test", logits=LOGITS, labels=LABELS)
    return run


def test_logits_labels_and_predictions_are_read_back(run: RunFolder) -> None:
    saved = load_evaluation(run, "test")
    assert saved is not None
    assert np.isfinite(saved.logits).all()  # 70,000 is more than float16 can hold
    np.testing.assert_allclose(saved.logits[[0, 2]], LOGITS[[0, 2]], rtol=1e-3)
    assert saved.labels.tolist() == [2, 0, 1]
    assert saved.predicted.tolist() == [2, 0, 1]  # the last two logits are equal in float16
    assert load_evaluation(run, "validation") is None


def test_files_of_two_evaluations_are_not_mixed(run: RunFolder) -> None:
    before = run.logits("test").read_bytes()
    save_evaluation(CONTENT, run, split="test", logits=-LOGITS, labels=LABELS)
    run.logits("test").write_bytes(before)
    with pytest.raises(UserError, match=r"not of the same evaluation .*measure again: cifar100 evaluate"):
        load_evaluation(run, "test")


DAMAGES = [{**CONTENT, "logits_sha256": 3}, {**CONTENT, "logits_sha256": "", "metrics": {}}]


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "{", *map(json.dumps, DAMAGES)])
def test_a_damaged_file_is_one_line(run: RunFolder, damage: str) -> None:
    run.evaluation("test").write_text(damage)
    with pytest.raises(UserError, match=r"evaluation_test.json cannot be read as what evaluate saves \("):
        load_evaluation(run, "test")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("logits", np.zeros((3, 3), np.int64)),
        ("logits", np.zeros((2, 3), np.float16)),
        ("labels", np.array([0, 1, 3])),
        ("predicted", np.array([0, 1, -1])),
        ("labels", np.zeros((3, 1), np.int64)),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(run: RunFolder, name: str, values: np.ndarray) -> None:
    import hashlib

    arrays = {"logits": np.zeros((3, 3), np.float16), "labels": np.zeros(3, np.int64)}
    arrays = {**arrays, "predicted": np.zeros(3, np.int64), name: values}
    np.savez(run.logits("test"), **arrays)
    content = json.loads(run.evaluation("test").read_text())
    content["logits_sha256"] = hashlib.sha256(run.logits("test").read_bytes()).hexdigest()
    run.evaluation("test").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"logits_test.npz cannot be read .*expected"):
        load_evaluation(run, "test")
