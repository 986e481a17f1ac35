"""What may change when a run is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar100.config import settings
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config, write_config
from cifar100.training.recovery.resuming import (
    CHANGEABLE,
    changed_config,
    check_parts,
    remember_parts,
    show_changes,
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("logs/run"))
    folder.path.mkdir(parents=True)
    write_config(load_config("quickstart"), folder.config, comment="a run")
    return folder


def test_what_may_change_is_a_setting() -> None:
    assert CHANGEABLE.keys() <= settings().keys()


def test_a_change_is_shown_with_its_consequence(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    config = changed_config(run, {"training.max_epochs": "7"})
    assert config.training.max_epochs == 7
    show_changes(run, config)
    assert capsys.readouterr().out == (
        "--training.max_epochs: 3 -> 7 (the learning-rate schedule is stretched over the new length)\n"
    )


def test_another_experiment_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"--data.batch_size cannot change mid-run \(run has 128\)"):
        changed_config(run, {"data.batch_size": 64})
    assert changed_config(run, {"data.batch_size": "128"}) == load_config("quickstart")


def test_more_processes_share_the_images_of_a_step(run: RunFolder) -> None:
    assert changed_config(run, {"training.devices": 4}).data.batch_size == 32
    with pytest.raises(UserError, match="128 images, which 3 processes cannot"):
        changed_config(run, {"training.devices": 3})


def test_custom_parts_are_remembered(run: RunFolder) -> None:
    remember_parts({}, run)
    assert not run.custom_parts.exists()
    check_parts({}, run)
    remember_parts({"network": "mine.Net"}, run)
    check_parts({"network": "mine.Net"}, run)
    with pytest.raises(UserError, match=r"network=mine.Net"):
        check_parts({}, run)
    with pytest.raises(UserError, match=r"was started with network=mine.Net, not other.Net"):
        check_parts({"network": "other.Net"}, run)


def test_an_incomplete_configuration_is_refused_instead_of_filled_from_a_recipe(run: RunFolder) -> None:
    run.config.write_text("training: {max_epochs: 3}\n")
    with pytest.raises(UserError, match=r"config.yaml lacks data.root and \d+ more settings; restore the file"):
        changed_config(run, {})
