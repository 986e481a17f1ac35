"""`export`: its options, and what is printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cifar100 import commands
from cifar100.cli.groups.export import show_export
from cifar100.cli.main import run_command_line
from cifar100.results.export.result import Export, Int8Accuracy

EXPORT = Export(
    path=Path("logs/my run/export/model.onnx"),
    format="onnx",
    precision="float32",
    num_bytes=10_123_423,
    largest_difference=1.23e-6,
    difference_of_other_sizes=0.00011,
    compared_on="256 validation images (32x32)",
    int8_accuracy=None,
    milliseconds_single=1.234,
    milliseconds_batch=201.25,
    batch_size=256,
    runtime="onnxruntime 1.32.0",
    num_threads=2,
)


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_export(EXPORT)
    assert capsys.readouterr().out.splitlines() == [
        f"file                {EXPORT.path}",
        "size                10.12 MB, float32",
        "largest difference  1.2e-06 in a probability, on 256 validation images (32x32)",
        "  of other sizes    0.00011, against Pillow's resizing",
        "one image           1.23 ms (onnxruntime 1.32.0, 2 threads)",
        "256 images          201.2 ms",
        "",
        "Next:",
        "  cifar100 predict 'logs/my run/export/model.onnx' IMAGE",
    ]


def test_int8_is_shown_with_both_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    found = Int8Accuracy(float32=0.7, int8=0.695, num_images=5000)
    assert found.lost_points == pytest.approx(0.5)
    show_export(replace(EXPORT, precision="int8", int8_accuracy=found))
    assert "69.50% in int8, 70.00% in float32, on 5,000 validation images" in capsys.readouterr().out


DEFAULTS: dict[str, Any] = {
    "format": "onnx",
    "output": None,
    "checkpoint": "best",
    "calibrated": False,
    "int8": False,
    "int8_limit": 1.0,
    "data_root": None,
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--format", "torch", "--output", "a.pt2"], {"format": "torch", "output": "a.pt2"}),
        (["--int8", "--int8-limit", "0.5"], {"int8": True, "int8_limit": 0.5}),
        (
            ["--calibrated", "--checkpoint", "last", "--data.root", "other"],
            {"calibrated": True, "checkpoint": "last", "data_root": "other"},
        ),
    ],
)
def test_export_passes_its_options(
    arguments: list[str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def fake(run: str, **options: Any) -> Export:
        calls.append((run, options))
        return EXPORT

    monkeypatch.setattr(commands, "export", fake)
    run_command_line(["export", "x", *arguments])
    assert calls == [("x", DEFAULTS | expected)]
