"""The output of `train --dry-run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cifar100 import commands
from cifar100.cli.main import run_command_line
from cifar100.cli.shown_estimate import show_estimate
from cifar100.errors import UserError
from cifar100.settings import load_config
from cifar100.training.cost.dry_run import Estimate
from cifar100.training.cost.run_time import Parts

ESTIMATE = Estimate(
    config=load_config("quickstart"),
    parameters=176_472,
    device="cpu",
    steps_per_epoch=351,
    seconds_per_step={32: 0.25},
    images_per_step=128,
    parts=Parts(steps=1053, epochs=3.0, training_seconds=263.0, validations=3, validation_seconds=7.0),
    start_seconds=4.0,
    saving_seconds=1.0,
    memory=617_300_000,
    memory_limit=25_300_000_000,
    checkpoint_bytes=3_600_000,
    saving_bytes=1_400_000,
    free_disk=72_000_000_000,
)


def test_an_estimate_is_one_fact_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_estimate(ESTIMATE)
    assert capsys.readouterr().out.splitlines() == [
        "dry run     nothing is written",
        "network     176,472 parameters, on cpu",
        "steps       351 in an epoch, 1,053 in all (3 epochs)",
        "a step      0.25 s, 512 images/s",
        "time        about 0:04:35 (start 0:00:04, training 0:04:23, saving 0:00:01, 3",
        "            validations 0:00:07)",
        "memory      at least 617 MB of 25.30 GB (cpu)",
        "disk        3.6 MB of checkpoints, 1.4 MB more while one is written; 72.00 GB",
        "            are free",
    ]


def test_an_estimate_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate(replace(ESTIMATE, free_disk=72_123_000_000_000))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_each_resolution_has_its_line_and_a_full_disk_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert not show_estimate(replace(ESTIMATE, seconds_per_step={16: 0.1, 32: 0.5}, free_disk=4_000_000, memory=None))
    shown = capsys.readouterr()
    assert "a step      0.1 s, 1,280 images/s at 16 x 16 pixels\n" in shown.out
    assert "memory" not in shown.out
    assert shown.err == "cifar100: the checkpoints need 5.0 MB, but 4.0 MB are free; free some space before training.\n"


def test_a_dry_run_trains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(commands, "dry_run", lambda config, experiment: asked.append((config, experiment)) or ESTIMATE)
    run_command_line(["train", "--dry-run", "--recipe", "laptop", "--experiment", "planned"])
    ((config, experiment),) = asked
    assert (config.recipe, experiment) == ("laptop", "planned")
    shown = capsys.readouterr().out
    assert shown.startswith("dry run")
    assert shown.endswith("\n\nNext:\n  cifar100 train --recipe laptop --experiment planned\n")
    with pytest.raises(UserError, match="--dry-run is for a new run; leave out --resume"):
        run_command_line(["train", "--dry-run", "--resume", "planned"])
