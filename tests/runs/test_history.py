from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.runs.history import History, read_epochs


def epoch(number: int, accuracy: float) -> dict[str, float]:
    return {"epoch": number, "train/loss": 1.0, "val/accuracy": accuracy}


def test_the_file_is_complete_after_every_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.json", {"data": "Shapes-100"})
    for number, accuracy in enumerate([0.2, 0.4, 0.4, 0.3], start=1):
        history.add(epoch(number, accuracy))
        content = json.loads((tmp_path / "metrics.json").read_text())
        assert [entry["epoch"] for entry in content["epochs"]] == list(range(1, number + 1))
    assert content["data"] == "Shapes-100"
    assert content["best"]["epoch"] == 2  # the first of equals
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.json"]


def rows(folder: Path) -> list[dict[str, Any]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_values_of_the_json_file_after_every_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.json", {})
    values = [
        {"epoch": 1, "train/loss": 4.25, "learning_rate": 1e-05},  # not validated
        {"epoch": 2, "train/loss": 0.1 + 0.2, "val/accuracy": 0.5, "learning_rate": 3e-5},
        {"epoch": 3, "train/loss": math.nan, "val/accuracy": 0.25, "learning_rate": math.inf},
    ]
    for epoch in values:
        history.add(epoch)
        recorded = json.loads((tmp_path / "metrics.json").read_text())["epochs"]
        table = rows(tmp_path)
        assert len(table) == len(recorded)
        for row, expected in zip(table, recorded, strict=True):
            given = {name: float(cell) for name, cell in row.items() if cell}
            assert given == {name: value for name, value in expected.items() if value is not None}
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header == "epoch,train/loss,val/accuracy,learning_rate"


def test_a_table_that_cannot_be_written_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.csv").mkdir()
    history = History(tmp_path / "metrics.json", {})
    for number in (1, 2):
        history.add(epoch(number, 0.5))
    assert len(read_epochs(tmp_path / "metrics.json")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "metrics.csv cannot be written (" in lines[0]


def test_a_resumed_run_goes_on_where_its_checkpoint_stands(tmp_path: Path) -> None:
    first = History(tmp_path / "metrics.json", {})
    for number in (1, 2, 3):
        first.add(epoch(number, 0.1 * number))
    resumed = History(tmp_path / "metrics.json", {})
    resumed.keep(2)
    resumed.add(epoch(3, 0.9))
    assert [entry["val/accuracy"] for entry in read_epochs(tmp_path / "metrics.json")] == [0.1, 0.2, 0.9]
    assert [float(row["val/accuracy"]) for row in rows(tmp_path)] == [0.1, 0.2, 0.9]


def test_without_validation_there_is_no_best(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.json", {})
    history.add({"epoch": 1, "train/loss": 1.0})
    assert history.best() is None


def test_a_failed_write_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    write_json({"epochs": [1]}, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="cannot be written \\(No space left on device\\)"):
        write_json({"epochs": [1, 2]}, path)
    assert json.loads(path.read_bytes()) == {"epochs": [1]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_file_gets_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(UserError, match="cannot be read as the metrics"):
        read_epochs(path)
