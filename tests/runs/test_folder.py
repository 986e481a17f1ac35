from __future__ import annotations

from pathlib import Path

import pytest

from cifar100.errors import UserError
from cifar100.runs.folder import LOGS, RunFolder, create_run_folder, find_run_folder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_unnamed_runs_are_numbered_and_never_share_a_folder() -> None:
    assert [create_run_folder().name for _ in range(3)] == ["experiment1", "experiment2", "experiment3"]


def test_a_number_that_is_taken_is_left_out() -> None:
    (LOGS / "experiment1").mkdir(parents=True)
    assert create_run_folder().name == "experiment2"


def test_a_name_is_never_used_twice() -> None:
    create_run_folder("mine")
    with pytest.raises(UserError, match=r"exists already and is never overwritten.*--resume mine"):
        create_run_folder("mine")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "a\n", "/tmp/x"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="--experiment is"):
        create_run_folder(name)
    assert not LOGS.exists()


def test_a_place_that_cannot_be_written_gets_one_line() -> None:
    LOGS.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be created"):
        create_run_folder()


def test_a_run_is_found_by_name_and_by_path() -> None:
    run = create_run_folder("mine")
    run.config.write_text("")
    assert find_run_folder("mine").path == run.path
    assert find_run_folder(run.path).path == run.path
    assert find_run_folder(run.path.absolute()).config.is_file()


def test_a_run_that_does_not_exist_gets_the_list_of_those_that_do() -> None:
    with pytest.raises(UserError, match="there are none yet"):
        find_run_folder("mine")
    create_run_folder("other").config.write_text("")
    with pytest.raises(UserError, match="there are: other"):
        find_run_folder("mine")


def test_a_run_can_be_passed_as_a_path() -> None:
    run = RunFolder(Path("logs/first"))
    assert Path(run) == run.path
    assert repr(run) == "RunFolder('logs/first')"
