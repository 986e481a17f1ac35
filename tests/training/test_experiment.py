"""The parts of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from custom_folder import make_custom
from small_runs import small_config
from torch import nn

from cifar100.config import Config
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.training.experiment import CustomParts, Experiment, assemble, make_split


def build(config: Config, parts: CustomParts | None = None) -> Experiment:
    return assemble(config, DataFolder(config.data.root).info(), make_split(config), parts=parts)


def test_the_same_settings_give_the_same_first_weights(tiny_data: Path) -> None:
    first, again = build(small_config(tiny_data)), build(small_config(tiny_data))
    other = build(small_config(tiny_data, **{"training.seed": 1}))
    weights = [experiment.module.network.state_dict()["head.weight"] for experiment in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_clock_counts_the_steps_of_the_run(tiny_data: Path) -> None:
    assert build(small_config(tiny_data, **{"training.max_epochs": 1.5})).clock.total_steps == 23
    limited = build(small_config(tiny_data, **{"training.limit_train_batches": 4}))
    assert (limited.steps_per_epoch, limited.clock.total_steps) == (4, 12)
    assert build(small_config(tiny_data, **{"training.max_minutes": 2})).clock.max_seconds == 120


def test_the_split_holds_out_a_fraction_of_every_class(tiny_data: Path) -> None:
    split = make_split(small_config(tiny_data, **{"data.validation_fraction": 0.5}))
    assert len(split.train) == len(split.validation) == 300


def test_a_network_with_init_from_images_gets_normalised_images(tiny_data: Path) -> None:
    class Net(nn.Linear):
        def init_from_images(self, images: torch.Tensor) -> None:
            self.seen = images

    net = Net(1, 1)
    build(small_config(tiny_data), CustomParts(network=net))
    assert net.seen.shape[1:] == (3, 32, 32)
    assert net.seen.mean().abs() < 0.2
    assert net.seen.std() == pytest.approx(1, abs=0.2)


def test_only_parts_that_affect_the_result_are_named() -> None:
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.mean()

    parts = CustomParts(network=nn.Linear(1, 1), loss=loss, loggers=())
    names = parts.names()
    assert names == {"network": "Linear", "loss": "loss"}
    assert CustomParts().names() == {}


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_a_validation_csv_is_the_split(fraction: float, tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path, val=4))
    split = make_split(small_config(tmp_path, **{"data.source": "download", "data.validation_fraction": fraction}))
    assert (split.train.tolist(), split.validation.tolist()) == (list(range(20)), [20, 21, 22, 23])


def test_a_validation_csv_and_a_fraction_contradict_each_other(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path, val=4))
    with pytest.raises(UserError, match=r"validation_fraction is 0.3, but .* names its 4 validation images in a CSV"):
        make_split(small_config(tmp_path, **{"data.source": "download", "data.validation_fraction": 0.3}))
