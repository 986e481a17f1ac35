"""The parts of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from custom_folder import make_custom
from small_runs import small_config
from torch import nn

from cifar100.config import Config
from cifar100.data.audit.images import image_files
from cifar100.data.audit.table import COLUMNS
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


def test_every_training_image_is_held_out_by_one_fold(tiny_data: Path) -> None:
    folds = [
        make_split(small_config(tiny_data, **{"data.num_folds": 3, "data.fold": fold})).validation for fold in range(3)
    ]
    assert sorted(np.concatenate(folds).tolist()) == list(range(600))
    assert [len(fold) for fold in folds] == [200, 200, 200]


def test_folds_replace_a_validation_csv(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path, val=4))
    split = make_split(small_config(tmp_path, **{"data.source": "download", "data.num_folds": 2}))
    assert (len(split.train), len(split.validation)) == (12, 12)


def test_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    make_custom(tmp_path, train=40)
    for index in range(0, 40, 4):  # images 0 and 1, 4 and 5, ... are copies
        shutil.copy(tmp_path / f"train_images/{index:02d}.png", tmp_path / f"train_images/{index + 1:02d}.png")
    prepare_custom(tmp_path)
    options = {"data.source": "download", "data.validation_fraction": 0.5}
    divided = set(make_split(small_config(tmp_path, **options)).validation.tolist())
    held_out = set(make_split(small_config(tmp_path, **options, **{"data.group_duplicates": True})).validation.tolist())
    pairs = [{index, index + 1} for index in range(0, 40, 4)]
    assert any(len(divided & pair) == 1 for pair in pairs)
    assert all(len(held_out & pair) in (0, 2) for pair in pairs)
    assert len(held_out) == 20


def test_group_duplicates_contradicts_a_validation_csv(tmp_path: Path) -> None:
    prepare_custom(make_custom(tmp_path, val=4))
    with pytest.raises(UserError, match=r"group_duplicates has no effect: .* names its 4 validation images"):
        make_split(small_config(tmp_path, **{"data.source": "download", "data.group_duplicates": True}))


def test_rejected_images_are_left_out(tiny_data: Path, tmp_path: Path) -> None:
    table = tmp_path / "audit.csv"
    names = DataFolder(tiny_data).info().class_names
    _, labels = DataFolder(tiny_data).load("train")
    file = image_files(DataFolder(tiny_data), labels, split="train")[5]
    row = f"label,train,5,{file},{names[labels[5]]},,,,,0.9,reject"
    table.write_text(",".join(COLUMNS) + "\n" + row + "\n")
    before = make_split(small_config(tiny_data))
    after = make_split(small_config(tiny_data, **{"data.exclude": table}))
    assert after.excluded.tolist() == [5]
    assert set(after.train.tolist()) | set(after.validation.tolist()) | {5} == set(range(600))
    assert len(np.setxor1d(before.validation, after.validation)) <= 1
    table.write_text(table.read_text().replace("train,5,", "train,6,"))
    with pytest.raises(UserError, match=r"line 2: file is .*as in the data"):
        make_split(small_config(tiny_data, **{"data.exclude": table}))
