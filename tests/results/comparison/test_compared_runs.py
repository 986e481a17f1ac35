"""Runs that cannot be compared: one line each, which says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated_runs import right, write_evaluated
from trained_networks import INFO

from cifar100 import compare
from cifar100.data.dataset_info import write_info
from cifar100.data.folder.splits import Split, save_split
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import FINISHED, RUNNING, write_status


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runs() -> list[RunFolder]:
    """`a` and `b`, evaluated on six test images."""
    return [write_evaluated(name, right(3, of=6)) for name in "ab"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no run is given, but a comparison needs at least two runs"),
        (["a"], "only a is given, but a comparison needs at least two runs: cifar100 compare RUN RUN..."),
        (["a", "b", "logs/a"], "a is given twice; pass different runs."),
        (["a", "c"], "found no run 'c'"),
        ("a", "runs is a, but it must be a list of run folders"),
        (3, "runs is 3, but it must be a list of run folders"),
        (["a", 3], "runs holds a value of type int"),
    ],
)
def test_too_few_runs(runs: list[RunFolder], given: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        compare(given)


def test_an_unknown_split(runs: list[RunFolder]) -> None:
    with pytest.raises(UserError, match="split is train, but it must be test or validation"):
        compare(["a", "b"], split="train")  # type: ignore[arg-type]


def test_runs_that_were_not_evaluated(runs: list[RunFolder]) -> None:
    runs[0].evaluation("test").unlink()
    with pytest.raises(UserError, match=r"not evaluated on the test images yet: a; run first: cifar100 evaluate a$"):
        compare(runs)
    commands = " && ".join(f"cifar100 evaluate {name} --split validation" for name in "ab")
    with pytest.raises(UserError, match=f"yet: a, b; run first: {commands}$"):
        compare(runs, split="validation")
    runs[0].custom_parts.write_text(json.dumps({"network": "Net"}))
    with pytest.raises(UserError, match=re.escape("evaluate('logs/a', split='test', network=...) in Python")):
        compare(runs)


def test_runs_without_such_images(runs: list[RunFolder]) -> None:
    for name in ("evaluation", "logits"):
        getattr(runs[1], name)("test").unlink()
    content = json.loads(runs[1].dataset_info.read_text())
    runs[1].dataset_info.write_text(json.dumps({**content, "num_test": 0}))
    with pytest.raises(UserError, match="the data of b have no test images; compare the runs with --split validation"):
        compare(runs)
    save_split(Split(train=np.arange(60), validation=np.arange(0)), runs[0].split)
    with pytest.raises(UserError, match=r"a was trained on all training images .* with --split test"):
        compare(runs, split="validation")


def test_different_images() -> None:
    write_evaluated("a", right(3, of=6))
    write_evaluated("b", right(3, of=6), changes={"images_sha256": "1" * 64})
    write_evaluated("c", right(3, of=7), changes={"images_sha256": "2" * 64, "data": "Other things"})
    expected = r"a and b were evaluated on different test images \(6 of Six things each, but not the same\)"
    with pytest.raises(UserError, match=f"{expected}.*cifar100 evaluate RUN --data.root FOLDER"):
        compare(["a", "b"])
    with pytest.raises(UserError, match=r"\(6 of Six things and 7 of Other things\)"):
        compare(["a", "c"])


def test_different_validation_images() -> None:
    for name in "ab":
        write_evaluated(name, right(3, of=6), split="validation", changes={"images_sha256": name * 64})
    with pytest.raises(UserError, match=r"different validation images .*data\.split_seed"):
        compare(["a", "b"], split="validation")


def damage(path: Path, content: str = "{") -> None:
    path.write_text(content)


DAMAGE: dict[str, Callable[[RunFolder], None]] = {
    "evaluation_test.json cannot be read as what evaluate saves": lambda run: damage(run.evaluation("test")),
    "logits_test.npz cannot be read as what evaluate saves": lambda run: run.logits("test").unlink(),
    "config.yaml is not valid YAML": lambda run: damage(run.config),
    "config.yaml lacks": lambda run: damage(run.config, "recipe: null"),
    "dataset.json": lambda run: damage(run.dataset_info),
    "lists 5 classes, but the run was evaluated with 6": lambda run: write_info(
        replace(INFO, class_names=tuple("abcde"), class_to_superclass=(0, 0, 0, 1, 1)), run.dataset_info
    ),
    "custom_parts.json cannot be read": lambda run: damage(run.custom_parts),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_file(runs: list[RunFolder], message: str) -> None:
    DAMAGE[message](runs[1])
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        compare(runs)
    assert "\n" not in str(caught.value)


def test_an_evaluation_before_a_longer_training_is_named(
    runs: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    epochs = [{"epoch": epoch, "val/accuracy": epoch / 10, "seconds": 1} for epoch in range(1, 5)]
    runs[1].metrics.write_text(json.dumps({"epochs": epochs[:2]}))
    write_status(runs[1], FINISHED)
    compare(runs)
    assert capsys.readouterr().err == ""
    runs[1].metrics.write_text(json.dumps({"epochs": epochs}))
    compare(runs)
    said = "b was measured with its weights of epoch 2, but its best epoch is 4 now; measure again: cifar100 evaluate b"
    assert said in capsys.readouterr().err
    write_status(runs[1], RUNNING)  # its weights of the best epoch may not be saved yet
    compare(runs)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["{", json.dumps({"epochs": [{"epoch": 1, "seconds": "long"}]})])
def test_without_readable_metrics_only_the_time_is_missing(
    runs: list[RunFolder], content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs[1].metrics.write_text(content)
    assert [run.training_seconds for run in compare(runs).runs] == [120, None]
    assert re.search(r"metrics.json cannot be read .* The training time of b is not shown", capsys.readouterr().err)


def test_an_epoch_without_a_time_is_no_time(runs: list[RunFolder]) -> None:
    runs[1].metrics.write_text(json.dumps({"epochs": [{"epoch": 1, "seconds": 3}, {"epoch": 2, "seconds": None}]}))
    assert compare(runs).runs[1].training_seconds is None
