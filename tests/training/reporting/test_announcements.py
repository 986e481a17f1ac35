"""What a run says at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from trained_networks import INFO

from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.training.reporting.announcements import announce_result
from cifar100.training.reporting.run_log import RunLog


def test_the_result_has_aligned_values_and_no_spaces_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = {"epoch": 1.0, "train/accuracy": 0.5, "val/accuracy": 0.25, "val/top5_accuracy": 0.75}
    run = RunFolder(tmp_path)
    log = RunLog(tmp_path / "train.log", enabled=True)
    history = History(run.metrics, {})
    history.epochs = [epoch]
    announce_result(run, history, log, INFO, seconds=61, pictures=["learning_curves.png"])
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:6] == [
        "best validation accuracy      25.00%, epoch 1",
        "its top-5 accuracy            75.00%",
        "training accuracy at the end  50.00%",
        "time                          0:01:01",
        f"checkpoints                   {run.checkpoints}",
    ]
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("num_test", "is_validated", "expected"),
    [(3, True, "evaluate RUN"), (0, True, "evaluate RUN --split validation"), (0, False, None)],
)
def test_the_next_command_measures_on_images_that_exist(
    num_test: int, is_validated: bool, expected: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path)
    log = RunLog(tmp_path / "train.log", enabled=True)
    history = History(run.metrics, {})
    validated = {"val/accuracy": 0.25} if is_validated else {}
    history.epochs = [{"epoch": 1.0, "train/accuracy": 0.5, **validated}]
    info = replace(INFO, origin="custom", num_test=num_test)
    announce_result(run, history, log, info, seconds=61, pictures=[])
    log.close()
    out = capsys.readouterr().out
    found = [line.split("cifar100 ", 1)[1] for line in out.splitlines() if " evaluate " in line and "cifar100" in line]
    assert found == ([] if expected is None else [expected.replace("RUN", run.argument)])
    assert ("No images are held out" in out) == (expected is None)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            {"loss": "mine"},
            ["Next:", "  cifar100 evaluate RUN", "  cifar100 report RUN", "  cifar100 predict RUN IMAGE..."],
        ),
        (
            {"network": "Net"},
            [
                *("Next, in Python, with the same network:", "  evaluate(PATH, network=network)"),
                *('  predict(PATH, "IMAGE", network=network)', "", "Next:", "  cifar100 report RUN"),
            ],
        ),
        ({"datamodule": "Mine"}, ["Next:", "  cifar100 report RUN", "  cifar100 predict RUN IMAGE..."]),
    ],
)
def test_the_next_steps_need_no_custom_part_that_a_command_cannot_name(
    parts: dict[str, str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path)
    run.custom_parts.write_text(json.dumps(parts))
    log = RunLog(tmp_path / "train.log", enabled=True)
    history = History(run.metrics, {})
    history.epochs = [{"epoch": 1.0, "train/accuracy": 0.5, "val/accuracy": 0.25}]
    announce_result(run, history, log, INFO, seconds=61, pictures=[])
    log.close()
    lines = capsys.readouterr().out.splitlines()
    named = [line.replace("RUN", run.argument).replace("PATH", repr(run.path.as_posix())) for line in expected]
    assert lines[-len(named) :] == named
    assert sum(line.startswith("Next") for line in lines) == sum(line.startswith("Next") for line in expected)
