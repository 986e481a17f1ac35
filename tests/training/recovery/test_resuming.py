"""What may change when a run is resumed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from small_runs import small_overrides

from cifar100 import commands
from cifar100.cli.main import run_command_line
from cifar100.config import settings
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
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
    with pytest.raises(UserError, match=r"--training.seed cannot change mid-run \(run has 0\)"):
        changed_config(run, {"training.seed": 1})
    assert changed_config(run, {"training.seed": "0"}) == load_config("quickstart")


def test_a_run_without_a_saved_state_may_begin_again_with_another_batch(run: RunFolder) -> None:
    changed = changed_config(run, {"data.batch_size": 64, "optimization.learning_rate": 0.1})
    assert (changed.data.batch_size, changed.optimization.learning_rate) == (64, 0.1)
    with pytest.raises(UserError, match=r"--data.batch_size auto works only at the start of a run; set a number"):
        changed_config(run, {"data.batch_size": "auto"})


def test_more_processes_share_the_images_of_a_step(run: RunFolder) -> None:
    assert changed_config(run, {"training.devices": 4}).data.batch_size == 32
    with pytest.raises(UserError, match="128 images, which 3 processes cannot"):
        changed_config(run, {"training.devices": 3})


def test_a_run_is_resumed_with_other_loggers(run: RunFolder) -> None:
    given = {"training.loggers": ["wandb"], "training.wandb_project": "mine"}
    write_config(load_config("quickstart", overrides=given), run.config, comment="a run")
    without = changed_config(run, {"training.loggers": []}).training
    assert (without.loggers, without.wandb_project) == ((), None)
    both = changed_config(run, {"training.loggers": ["wandb", "mlflow"]}).training
    assert (both.wandb_project, both.mlflow_experiment) == ("mine", "cifar100")


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


@pytest.mark.parametrize(
    ("length", "option"),
    [({"training.max_epochs": 1}, "--training.max_epochs"), ({"training.max_minutes": 0.01}, "--training.max_minutes")],
)
def test_the_printed_advice_makes_a_finished_run_longer(
    length: dict[str, float],
    option: str,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = small_overrides(tiny_data, **{"training.max_epochs": None, "training.loggers": []}) | length
    run = commands.train(load_config("quickstart", overrides=given), experiment="short")
    before = len(History(run.metrics, {}).epochs)
    with pytest.raises(UserError, match="has finished") as refused:
        run_command_line(["train", "--resume", "short"])
    pattern = r"longer: cifar100 (train --resume short --training\.\w+) N, with N above ([\d.]+)$"
    advice = re.search(pattern, str(refused.value))
    assert advice
    command, least = advice[1].split(), float(advice[2])
    assert command[-1] == option
    with pytest.raises(UserError, match="has finished"):
        run_command_line([*command, str(before if "epochs" in option else length["training.max_minutes"])])
    run_command_line([*command, str(math.ceil(least) + 1 if "epochs" in option else least + 0.02)])
    assert f"{option}: " in capsys.readouterr().out
    assert len(History(run.metrics, {}).epochs) > before
    assert History(run.metrics, {}).finished


def test_a_run_by_minutes_can_go_on_by_epochs(run: RunFolder) -> None:
    write_config(load_config("laptop"), run.config, comment="a run")
    training = changed_config(run, {"training.max_epochs": "7"}).training
    assert (training.max_epochs, training.max_minutes) == (7, None)


def test_the_number_of_processes_is_decided_at_the_start_of_a_run(run: RunFolder) -> None:
    write_config(load_config(overrides={"training.devices": 2}), run.config, comment="a run")
    with pytest.raises(UserError, match="devices auto works only at the start of a run; set a number to resume it"):
        changed_config(run, {"training.devices": "auto"})
