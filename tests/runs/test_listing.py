"""The list of runs, with damaged ones in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cifar100.runs.folder import RunFolder
from cifar100.runs.listing import list_runs, summarize


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, **files: Any) -> RunFolder:
    run = RunFolder(Path("logs") / name)
    run.path.mkdir(parents=True)
    for attribute, content in files.items():
        getattr(run, attribute).write_text(content if isinstance(content, str) else json.dumps(content))
    return run


def test_a_run_is_summarized() -> None:
    run = write(
        "first",
        config="# comment\nrecipe: fast\ndata: {}\n",
        metrics={"best": {"val/accuracy": 0.5}, "epochs": [{"epoch": 1}, {"epoch": 2}]},
        dataset_info={"name": "CIFAR-100"},
        status={"status": "diverged", "message": "loss is nan", "updated": "2026-01-02T03:04:05+00:00"},
    )
    summary = summarize(run)
    assert (summary.name, summary.recipe, summary.data, summary.epochs) == ("first", "fast", "CIFAR-100", 2)
    assert (summary.best, summary.status, summary.message) == (0.5, "diverged", "loss is nan")
    assert summary.updated == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"epochs": 3, "best": [], "updated": "yesterday"}'])
def test_damaged_files_leave_their_fields_empty(content: str) -> None:
    run = write("mess", config="\x00", metrics=content, dataset_info=content, status=content)
    summary = summarize(run)
    assert (summary.recipe, summary.data, summary.epochs, summary.best) == ("", "", 0, None)
    assert (summary.status, summary.message, summary.updated) == ("unknown", "", None)


@pytest.mark.parametrize("content", ["{", '{"metrics": []}', '{"metrics": {"accuracy": 5}}', '{"metrics": null}'])
def test_a_damaged_evaluation_of_an_ensemble_leaves_its_accuracy_empty(content: str) -> None:
    run = write("both", status={"status": "finished"})
    run.evaluation("validation").write_text(content)
    assert summarize(run).best is None
    run.evaluation("validation").write_text('{"metrics": {"accuracy": {"value": 0.5}}}')
    assert summarize(run).best == 0.5


def test_the_most_recent_run_is_last_and_other_folders_are_left_out() -> None:
    assert list_runs() == []
    write("b", status={"status": "finished", "updated": "2026-01-02T00:00:00+00:00"})
    write("c", status={"status": "finished", "updated": "2026-01-01T00:00:00"})  # UTC if nothing else is said
    write("a", config="recipe: fast\n")
    write("notes")
    write("trials/fast/seed0", config="recipe: fast\n", status={"status": "finished"})  # `runs --help` says so
    Path("logs/file").touch()
    assert [run.name for run in list_runs()] == ["a", "c", "b"]
