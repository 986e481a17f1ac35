"""A run of an earlier command is used again only if it was trained as the command asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo, write_info
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder
from cifar100.search.earlier import check_earlier
from cifar100.settings import load_config, write_config


def config(**given: Any) -> Config:
    """Recipe quickstart: 128 images in a step, learning rate 0.3."""
    names = {"batch_size": "data.batch_size", "devices": "training.devices", "rate": "optimization.learning_rate"}
    return load_config("quickstart", overrides={names[name]: value for name, value in given.items()})


@pytest.fixture
def info(tiny_data: Path) -> DatasetInfo:
    return DataFolder(tiny_data).info()


def check(before: Config, requested: Config, info: DatasetInfo, path: Path) -> None:
    run = RunFolder(path)
    write_config(before, run.config, comment="a run")
    write_info(info, run.dataset_info)
    check_earlier(run, requested, info, move="remove it")


@pytest.mark.parametrize(
    ("before", "requested"),
    [
        (config(), config()),
        (config(batch_size=64, devices=2), config(batch_size=128)),
        (config(batch_size=256, rate=0.6), config(batch_size="auto")),  # the rate was scaled
        (config(batch_size=128, devices=2, rate=0.6), config(batch_size="auto")),
        (config(batch_size=256, rate=0.5), config(batch_size="auto", rate=0.5)),
        (config(batch_size=256, rate=0.1), config(batch_size="auto", rate="auto")),
    ],
)
def test_the_same_training_on_other_processes_is_the_same(
    before: Config, requested: Config, info: DatasetInfo, tmp_path: Path
) -> None:
    check(before, requested, info, tmp_path)


@pytest.mark.parametrize(
    ("before", "requested", "message"),
    [
        (config(batch_size=64), config(), "was trained with 64 images in a step, but 128 are requested; use the same"),
        (config(devices=2), config(), "was trained with 256 images in a step, but 128 are requested"),
        (config(rate=0.2), config(), "was trained with --optimization.learning_rate 0.2, but 0.3 is requested"),
        (config(batch_size=256, rate=0.6), config(batch_size="auto", rate=0.5), "rate 0.6, but 0.5 is requested"),
    ],
)
def test_another_training_is_refused(
    before: Config, requested: Config, message: str, info: DatasetInfo, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"{message}.*remove it"):
        check(before, requested, info, tmp_path)
