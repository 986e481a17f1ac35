from __future__ import annotations

import os
from pathlib import Path

import pytest
from ended_processes import partial_of_ended_process

from cifar100.errors import UserError
from cifar100.runs import folder
from cifar100.runs.folder import (
    LOGS,
    RunFolder,
    find_run_folder,
    how_to_resume,
    run_folders,
)


def create_run_folder(experiment: str | None = None) -> RunFolder:
    """Create a run whose configuration holds its name."""
    return folder.create_run_folder(experiment, lambda run, name: run.config.write_text(name) and None)


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
    with pytest.raises(UserError, match=r"already exists and is never overwritten.*--resume mine"):
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
    assert find_run_folder("mine").path == run.path
    assert find_run_folder(run.path).path == run.path
    assert find_run_folder(run.path.absolute()).config.is_file()


def test_a_run_that_does_not_exist_gets_the_list_of_those_that_do() -> None:
    with pytest.raises(UserError, match="there are none yet"):
        find_run_folder("mine")
    create_run_folder("other")
    with pytest.raises(UserError, match="choose from: other"):
        find_run_folder("mine")


def test_a_run_can_be_passed_as_a_path() -> None:
    run = RunFolder(Path("logs/first"))
    assert Path(run) == run.path
    assert repr(run) == "RunFolder('logs/first')"


def test_a_folder_appears_complete_or_not_at_all() -> None:
    def fail(run: RunFolder, name: str) -> None:
        run.config.write_text("half")
        assert run_folders() == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.create_run_folder(None, fail)
    assert list(LOGS.iterdir()) == []
    run = create_run_folder()
    assert run.name == run.config.read_text() == "experiment1"


def test_what_a_killed_process_was_creating_is_removed() -> None:
    partial = partial_of_ended_process(LOGS / "experiment1")
    partial.mkdir(parents=True)
    (partial / "status.json").touch()
    assert run_folders() == []
    create_run_folder()
    assert [path.name for path in LOGS.iterdir()] == ["experiment1"]


def test_a_name_that_is_taken_while_the_folder_is_filled_stays_the_others() -> None:
    def lose_the_race(run: RunFolder, name: str) -> None:
        run.config.write_text("ours")
        if name == "experiment1":
            (LOGS / name).mkdir()
            (LOGS / name / "config.yaml").write_text("theirs")

    assert folder.create_run_folder(None, lose_the_race).name == "experiment2"
    assert (LOGS / "experiment1/config.yaml").read_text() == "theirs"
    assert len(list(LOGS.iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_logs_that_are_a_dangling_link_get_one_line() -> None:
    LOGS.symlink_to("nowhere")
    with pytest.raises(UserError, match="logs cannot be created"):
        create_run_folder()


def test_a_folder_that_is_no_run_is_not_to_be_resumed() -> None:
    (LOGS / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"choose another --experiment$"):
        create_run_folder("mine")


def test_a_name_longer_than_a_file_name_is_refused() -> None:
    with pytest.raises(UserError, match="at most 120"):
        create_run_folder("a" * 256)
    with pytest.raises(UserError, match="found no run"):
        find_run_folder("a" * 5000)


def test_a_file_in_a_run_is_no_run() -> None:
    Path("best.ckpt").touch()
    with pytest.raises(
        UserError, match=r"^'best\.ckpt' is a file, expected a run folder .* give the run of the file\."
    ):
        find_run_folder("best.ckpt")


@pytest.mark.parametrize(
    ("path", "argument"),
    [("logs/mine", "mine"), ("elsewhere/mine", "elsewhere/mine"), ("/tmp/my runs/a", "'/tmp/my runs/a'")],
)
def test_a_command_names_a_run_so_that_it_is_found(path: str, argument: str) -> None:
    assert RunFolder(Path(path)).argument == argument


def test_an_absolute_path_below_the_working_directory_is_named_like_a_relative_one(tmp_path: Path) -> None:
    assert RunFolder(Path("logs/a").absolute()).argument == "a"
    assert RunFolder(Path("logs/a/last.ckpt").absolute()).argument == "logs/a/last.ckpt"
    assert RunFolder(tmp_path.parent / "elsewhere").argument == (tmp_path.parent / "elsewhere").as_posix()


def test_what_resumes_a_run_passes_its_custom_parts() -> None:
    run = create_run_folder("my+run")
    changes = {"data.batch_size": 16}
    assert how_to_resume(run) == "cifar100 train --resume my+run"
    assert how_to_resume(run, changes) == "cifar100 train --resume my+run --data.batch_size 16"
    path = repr(run.path.as_posix())
    run.custom_parts.write_text('{"loss": "mine"}')
    assert how_to_resume(run) == f"train(resume={path}, loss=...) in Python"
    run.custom_parts.write_text('{"network": "Net", "loss": "mine"}')
    expected = f"train(resume={path}, network=..., loss=..., changes={{'data.batch_size': 16}}) in Python"
    assert how_to_resume(run, changes) == expected
    run.custom_parts.write_text("damaged")
    assert how_to_resume(run) == "cifar100 train --resume my+run"
