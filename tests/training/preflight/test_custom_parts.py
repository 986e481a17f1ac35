from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from small_runs import small_config, without
from torch import nn

from cifar100 import commands
from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.settings import load_config
from cifar100.training.preflight.custom_parts import CustomParts


class Data(L.LightningDataModule):
    num_classes = 3
    class_names: Any = None


def squared_error(logits: Any, labels: Any) -> Any:
    return (logits - labels).square().mean()


PARTS: dict[str, dict[str, Any]] = {
    "network": {"network": nn.Flatten()},
    "loss": {"loss": squared_error},
    "datamodule": {"datamodule": Data()},
    "loggers": {"loggers": ()},
}


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("network", "model.widths", [8, 8, 8]),
        ("network", "model.name", "resnet18"),
        ("loss", "optimization.label_smoothing", 0.3),
        ("datamodule", "data.batch_size", 7),
        ("datamodule", "data.root", "elsewhere"),
        ("datamodule", "augmentation.cutout", 3),
        ("loggers", "training.loggers", ["csv"]),
    ],
)
def test_a_setting_that_a_part_replaces_is_refused_by_name(part: str, setting: str, value: Any) -> None:
    config = load_config("quickstart", overrides={setting: value})
    with pytest.raises(UserError, match=rf"^--{setting} .* has no effect: {part}= replaces .*; leave it out\.$"):
        CustomParts(**PARTS[part]).check_settings(config)
    CustomParts(**PARTS["loss" if part == "network" else "network"]).check_settings(
        load_config("quickstart", overrides={"training.max_epochs": 1})
    )


@pytest.mark.parametrize("config", [load_config("quickstart"), load_config("strong"), Config()])
def test_what_the_recipe_has_is_accepted(config: Config) -> None:
    for parts in PARTS.values():
        CustomParts(**parts).check_settings(config)
    normalised = replace(config, data=replace(config.data, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)))
    CustomParts(datamodule=Data()).check_settings(normalised)


def test_train_refuses_it_before_there_is_a_run_folder(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--model.widths \[8, 8, 8\] has no effect"):
        commands.train(small_config(tiny_data), network=nn.Flatten())
    assert not Path("logs").exists()


def test_cached_features_of_a_custom_data_module_are_refused() -> None:
    config = load_config("probe")
    CustomParts(network=nn.Flatten()).check_settings(config)
    with pytest.raises(UserError, match=r"^--model.cache_features needs .* not a custom data module; set .* false\.$"):
        CustomParts(datamodule=Data()).check_settings(config)
    CustomParts(datamodule=Data()).check_settings(load_config("probe", overrides={"model.cache_features": False}))


@pytest.mark.parametrize("part", ["network", "datamodule"])
def test_a_teacher_with_custom_parts_leaves_no_run_folder(
    part: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = tmp_path / "logs" / "teacher"
    teacher.mkdir(parents=True)
    (teacher / "config.yaml").write_text("")
    (teacher / "custom_parts.json").write_text(f'{{"{part}": "Mine"}}')
    with pytest.raises(UserError, match=rf"teacher teacher was trained from Python with {part}=Mine"):
        commands.train(small_config(tiny_data, **{"optimization.teacher": "teacher"}))
    with pytest.raises(UserError, match="needs the data of a data folder"):
        commands.train(
            without(small_config(tiny_data, **{"optimization.teacher": "teacher"}), "data"), datamodule=Data()
        )
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["teacher"]


@pytest.mark.parametrize("names", ["abc", ["a", "b"], ["a", "b", "b"], ["a", "b", 3], 5, {"a": 1, "b": 2, "c": 3}])
def test_class_names_are_as_many_as_classes(names: Any) -> None:
    data = Data()
    data.class_names = names
    with pytest.raises(UserError, match=r"Data has class_names .*, but it must be a list of 3 different names"):
        CustomParts(datamodule=data).describe_data()
    data.class_names = ("a", "b", "c")
    info = CustomParts(datamodule=data).describe_data()
    assert info is not None
    assert info.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "resnet18"}, "network is resnet18, but it must be a module or a function"),
        ({"loss": 3}, "loss is 3, but it must be a module or a function"),
        ({"datamodule": Data}, "datamodule is .*, but it must be a LightningDataModule object"),
        ({"callbacks": L.Callback()}, "callbacks is .*, but it must be a list of Lightning's Callback"),
        ({"callbacks": "EarlyStopping"}, "callbacks is EarlyStopping, but it must be a list"),
        ({"loggers": "csv"}, "loggers is csv, but it must be a list of Lightning's Logger"),
    ],
)
def test_a_part_of_another_type_gets_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        CustomParts(**arguments)
    assert "\n" not in str(caught.value)
