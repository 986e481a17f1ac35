"""The settings, their documentation, and the defaults of components."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cifar100.config import SECTIONS, Config, ModelConfig, chosen_components, get, section_settings, settings
from cifar100.errors import UserError


def test_every_setting_has_a_description() -> None:
    assert len(settings()) > 60
    for name, setting in settings().items():
        assert setting.help.endswith("."), name


def test_a_config_without_a_recipe_says_so() -> None:
    assert Config().recipe is None


def test_a_setting_is_read_by_its_full_name() -> None:
    config = Config(recipe="x")
    assert get(config, "data.batch_size") == 128
    assert get(config, "recipe") == "x"


def test_a_section_has_the_settings_of_its_components() -> None:
    names = {setting.name for setting in section_settings("model")}
    assert {"name", "stem", "widths", "stochastic_depth"} <= names
    assert "label_smoothing" in {setting.name for setting in section_settings("optimization")}
    assert [name.partition(".")[0] for name in settings()] == [
        section for section in SECTIONS for _ in section_settings(section)
    ]


def test_the_chosen_component_and_what_only_others_take() -> None:
    values = {name: get(Config(model=ModelConfig(name="wide_resnet28_10")), name) for name in settings()}
    name, taken, others = chosen_components(values)["model.name"]
    assert name == "wide_resnet28_10"
    assert taken == {"model.stochastic_depth"}
    assert {"model.widths", "model.stem", "model.shortcut"} <= others


def test_the_settings_of_the_chosen_component_are_filled_in() -> None:
    config = Config()
    assert (config.model.stem, config.model.stochastic_depth, config.model.widths) == ("cifar", 0.0, None)
    assert config.optimization.label_smoothing == 0.0
    other = replace(config, model=replace(config.model, name="fast_net"))  # the defaults of a ResNet need no mention
    assert (other.model.stem, other.model.widths) == (None, (64, 256, 256))
    changed = replace(config, model=replace(config.model, stem="imagenet"))
    with pytest.raises(UserError, match=r"--model.stem imagenet has no effect: --model.name fast_net takes blocks, "):
        replace(changed, model=replace(changed.model, name="fast_net"))


def test_an_unknown_component_is_refused() -> None:
    with pytest.raises(UserError, match=r"--model.name is vgg, but it must be one of .*resnet18"):
        Config(model=ModelConfig(name="vgg"))
