from __future__ import annotations

import errno
import multiprocessing
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from held_lock import hold

from cifar100.errors import UserError
from cifar100.files.locks import holding, is_held


@pytest.fixture
def other(tmp_path: Path) -> object:
    """Another process that holds the lock for half a second."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    started, ended = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "lock", 0.5, started, ended))
    process.start()
    started.wait()
    yield process.pid, ended
    process.join()


def test_a_second_process_is_refused_and_the_owner_named(other: tuple[int, object], tmp_path: Path) -> None:
    assert is_held(tmp_path / "lock")
    with (
        pytest.raises(UserError, match=rf"^the folder is in use by process {other[0]} on "),
        holding(tmp_path / "lock", what="the folder"),
    ):
        pass


def test_a_second_process_waits_and_says_for_whom(
    other: tuple[int, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding(tmp_path / "lock", what="the folder", wait=True):
        assert other[1].is_set()  # type: ignore[attr-defined]
    assert f"the folder is in use by process {other[0]} on" in capsys.readouterr().err
    assert not is_held(tmp_path / "lock")


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_process_that_looks_at_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    import fcntl

    with holding(tmp_path / "lock", what="the folder"):
        pass
    with (tmp_path / "lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_held(tmp_path / "lock")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root and Windows write everywhere")
def test_a_lock_that_may_only_be_read_is_seen(tmp_path: Path) -> None:
    with holding(tmp_path / "lock", what="the folder"):
        (tmp_path / "lock").chmod(0o444)
        assert is_held(tmp_path / "lock")
    assert not is_held(tmp_path / "lock")


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
def test_a_file_system_without_locks_gives_a_warning(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", fail)
    ran = False
    with holding(tmp_path / "lock", what="the folder"):
        ran = True
    assert ran
    assert "the file system of the folder has no locks" in capsys.readouterr().err


def test_a_folder_in_the_place_of_the_lock_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(UserError, match=r"cannot be taken .*; move away what is in its place"),
        holding(tmp_path / "lock", what="the folder"),
    ):
        pass


def test_nothing_is_left_but_the_lock_file(tmp_path: Path) -> None:
    with holding(tmp_path / "lock", what="the folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"lock"}
