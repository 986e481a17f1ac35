from __future__ import annotations

import json
from pathlib import Path

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
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_resumed_run_goes_on_where_its_checkpoint_stands(tmp_path: Path) -> None:
    first = History(tmp_path / "metrics.json", {})
    for number in (1, 2, 3):
        first.add(epoch(number, 0.1 * number))
    resumed = History(tmp_path / "metrics.json", {})
    resumed.keep(2)
    resumed.add(epoch(3, 0.9))
    assert [entry["val/accuracy"] for entry in read_epochs(tmp_path / "metrics.json")] == [0.1, 0.2, 0.9]


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
