"""Two classes and a thousand, through every command: all of it works, and what it writes can be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cifar100 import load_model
from cifar100.cli.main import run_command_line
from cifar100.data.folder.image_files import encode_png
from cifar100.results.export import check

SIDE = 16
"""Of the image files, which preparation scales."""

MAX_REPORT_BYTES = 5_000_000

LINES_OF_A_SCREEN = 45


def name_of(label: int) -> str:
    return f"kind {label:04d}"


def write_class_folders(root: Path, num_classes: int, *, train: int, test: int) -> None:
    """Write noisy images whose colour says which class it is."""
    generator = np.random.default_rng(0)
    for split, number in (("train", train), ("test", test)):
        for label in range(num_classes):
            folder = root / split / name_of(label)
            folder.mkdir(parents=True)
            colour = np.array([label % 10, label // 10 % 10, label // 100 % 10]) * 24
            images = colour[:, None, None] + generator.integers(0, 12, (number, 3, SIDE, SIDE))
            for index, image in enumerate(images.astype(np.uint8)):
                (folder / f"{index}.png").write_bytes(encode_png(image))


@pytest.mark.parametrize(
    ("num_classes", "train", "test"), [(2, 60, 20), pytest.param(1000, 6, 2, marks=pytest.mark.slow)]
)
def test_every_command_copes_with_so_many_classes(
    num_classes: int,
    train: int,
    test: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check, "SECONDS", 0.0)
    write_class_folders(Path("pictures"), num_classes, train=train, test=test)
    training = {
        "data.root": "pictures",
        "data.validation_fraction": "0.2",
        "data.batch_size": "32",
        "model.widths": "[8, 8, 8]",
        "training.max_epochs": "2",
        "training.accelerator": "cpu",
        "training.loggers": "[]",
    }
    options = [part for name, value in training.items() for part in (f"--{name}", value)]

    def shown(*arguments: str) -> str:
        run_command_line(list(arguments))
        out = capsys.readouterr().out
        assert len(out.splitlines()) < LINES_OF_A_SCREEN, arguments
        return out

    capsys.readouterr()
    run_command_line(["train", "--recipe", "quickstart", "--experiment", "run", *options])
    trained = capsys.readouterr().out
    assert f"{num_classes} classes" in trained

    evaluated = shown("evaluate", "run")
    assert f"{num_classes * test:,}, test" in evaluated
    assert ("top-5" in evaluated) == (num_classes > 5)
    content = json.loads(Path("logs/run/evaluation_test.json").read_text())
    assert content["num_images"] == num_classes * test

    classes = {line.split("  ")[0] for line in evaluated.splitlines()} & {"classes", "best classes", "worst classes"}
    assert classes == ({"classes"} if num_classes == 2 else {"best classes", "worst classes"})

    assert "report.html" in shown("report", "run")
    page = Path("logs/run/report.html").read_text()
    assert len(page) < MAX_REPORT_BYTES
    assert name_of(num_classes - 1) in page
    assert ('<figure class="matrix">' in page, '<table class="cells">' in page) == (num_classes > 30, num_classes <= 30)

    assert "label errors: " in shown("audit", "pictures", "--run", "run", "--out", "audit")
    assert len(Path("audit/audit.html").read_bytes()) < MAX_REPORT_BYTES
    with Path("audit/audit.csv").open(newline="") as file:
        assert "verdict" in next(csv.reader(file))

    assert "Next:\n  cifar100 predict" in shown("export", "run")
    exported = load_model("logs/run/export/model.onnx")
    assert exported.info.class_names == tuple(name_of(label) for label in range(num_classes))

    picture = f"pictures/test/{name_of(1)}/0.png"
    tables = [shown("predict", run, picture) for run in ("run", "logs/run/export/model.onnx")]
    assert all(table.count("kind ") - 1 == min(5, num_classes) for table in tables)  # one is the name of the file
    rows = list(csv.DictReader(shown("predict", "run", picture, "--csv", "--probabilities").splitlines()))
    (row,) = rows
    assert sum(column.endswith(tuple(map(name_of, range(num_classes)))) for column in row) == num_classes
    expected = load_model("run")(picture)[0]
    assert exported(picture)[0] == pytest.approx(expected, abs=1e-4)
