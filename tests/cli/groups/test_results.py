"""`evaluate` and `report`: their options, and what is printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trained_networks import stub

from cifar100 import commands, metrics
from cifar100.cli.groups import results
from cifar100.cli.main import run_command_line
from cifar100.cli.shown_evaluation import show_evaluation
from cifar100.results.evaluate import Evaluation, Measurement, describe
from cifar100.results.measures import measure
from cifar100.runs.folder import RunFolder

LABELS = torch.tensor([0, 1, 2, 5])


def evaluation() -> Evaluation:
    run = RunFolder(Path("logs/x"))
    return describe(torch.eye(6)[:4], LABELS, stub(nn.Identity()), run=run, split="test", images_sha256="")


def test_what_is_shown_names_the_data_every_metric_and_the_hardest_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(metrics.METRICS, "confidence", lambda logits, labels: torch.full((len(labels),), 0.25))
    show_evaluation(evaluation())
    rows = {line.split("  ")[0]: line.partition("  ")[2].strip() for line in capsys.readouterr().out.splitlines()}
    assert rows["data"] == "Six things, custom data, 6 classes"
    assert rows["images"] == "4, test"
    assert rows["weights"] == "best.ckpt, epoch 3"
    assert rows["accuracy"] == "75.00%   30.06% to 95.44%"
    assert rows["top-5 accuracy"] == "100.00%  51.01% to 100.00%"
    assert rows["superclass accuracy"].startswith("100.00%")
    assert rows["confidence"] == "0.2500   0.2500 to 0.2500"
    assert rows["classes"].endswith("f 0%")


def test_flip_augmentation_is_shown_separately(capsys: pytest.CaptureFixture[str]) -> None:
    better = torch.eye(6)[:4]
    better[3, 5] = 2.0
    metrics = measure(better, LABELS, num_classes=6)
    show_evaluation(replace(evaluation(), flip_tta=Measurement(metrics=metrics)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    accuracies = [words[1] for words in lines if words[0] == "accuracy"]
    assert accuracies == ["75.00%", "100.00%"]  # below the line "with flip TTA"


DEFAULTS: dict[str, Any] = {
    "split": "test",
    "checkpoint": "best",
    "flip_tta": False,
    "calibrate": False,
    "fair": False,
    "duplicates": None,
    "corrected": False,
    "label_errors": None,
    "corruptions": None,
    "data_root": None,
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--data.root", "other"], {"data_root": "other"}),
        (
            ["--split", "validation", "--checkpoint", "last", "--flip-tta"],
            {"split": "validation", "checkpoint": "last", "flip_tta": True},
        ),
        (["--fair", "--corrected"], {"fair": True, "corrected": True}),
        (["--duplicates", "a.csv", "--label-errors", "b.json"], {"duplicates": "a.csv", "label_errors": "b.json"}),
        (["--corruptions", "generated"], {"corruptions": "generated"}),
    ],
)
def test_evaluate_passes_its_options(
    arguments: list[str],
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[Any] = []

    def fake(run: str, **options: Any) -> Evaluation:
        calls.append((run, options))
        return evaluation()

    monkeypatch.setattr(commands, "evaluate", fake)
    run_command_line(["evaluate", "x y", *arguments])
    assert calls == [("x y", DEFAULTS | expected)]
    assert capsys.readouterr().out.endswith("\n  cifar100 report 'x y'\n")


@pytest.mark.parametrize(
    ("arguments", "runs", "output"), [(["a"], ["a"], None), (["a", "b", "--output", "c.html"], ["a", "b"], "c.html")]
)
def test_report_passes_its_options_and_prints_path_and_size(
    arguments: list[str],
    runs: list[str],
    output: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "report 1.html"
    path.write_bytes(bytes(1_234_567))
    calls: list[Any] = []

    def fake(runs: list[str], **options: Any) -> Path:
        calls.append((runs, options))
        return path

    monkeypatch.setattr(commands, "report", fake)
    run_command_line(["report", *arguments])
    assert calls == [(runs, {"output": output})]
    other = "" if len(runs) > 1 else " OTHER_RUN"
    following = f"\nNext:\n  cifar100 compare {' '.join(runs)}{other}\n"
    assert capsys.readouterr().out == f"{path} (1.2 MB); open it in a browser\n{following}"
    monkeypatch.setattr(results, "is_terminal", lambda stream: True)
    run_command_line(["report", *arguments])
    shown = capsys.readouterr().out  # the terminal opens a URI
    assert shown == f"{path.as_uri()} (1.2 MB); open it in a browser\n{following}"
