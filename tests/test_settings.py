from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cifar100.config import Config
from cifar100.config.settings_file import setting_names
from cifar100.errors import UserError
from cifar100.settings import (
    ADDED_LATER,
    load_complete_config,
    load_config,
    read_recipe,
    recipe_names,
    to_dict,
    write_config,
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_setting_flows_from_default_over_recipe_and_files_to_the_command_line(tmp_path: Path) -> None:
    assert Config().data.batch_size == 128
    assert load_config("original").data.batch_size == 64
    first = write(tmp_path / "first.yaml", "data: {batch_size: 32, split_seed: 5}")
    second = write(tmp_path / "second.yaml", "data: {batch_size: 16}")
    config = load_config("original", files=[first, second])
    assert (config.data.batch_size, config.data.split_seed) == (16, 5)
    assert load_config("original", files=[first], overrides={"data.batch_size": 8}).data.batch_size == 8


def test_the_default_recipe_is_original_and_a_file_can_name_another(tmp_path: Path) -> None:
    assert load_config().recipe == "original"
    file = write(tmp_path / "mine.yaml", "recipe: quickstart\ntraining: {max_epochs: 1}")
    assert load_config(files=[file]).recipe == "quickstart"
    assert load_config("original", files=[file]).recipe == "original"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_valid_and_holds_only_differences_from_the_defaults(name: str) -> None:
    load_config(name)
    defaults = to_dict(Config())
    for setting, value in read_recipe(name).settings.items():
        section, _, key = setting.partition(".")
        if name != "original":  # which spells the mission's experiment out
            assert defaults[section][key] != value, f"{setting} in {name} repeats the default"
    assert {"purpose", "time", "accuracy"} <= read_recipe(name).about.keys()


def test_the_original_recipe_is_the_experiment_of_the_mission() -> None:
    config = load_config("original")
    assert (config.model.name, config.model.stem) == ("resnet18", "imagenet")
    assert (config.data.batch_size, config.training.max_epochs, config.data.validation_fraction) == (64, 50, 0.1)
    optimization = config.optimization
    assert (optimization.schedule, optimization.learning_rate, optimization.weight_decay) == ("one_cycle", 0.113, 1e-4)
    assert (optimization.pct_start, optimization.div_factor, optimization.final_div_factor) == (0.2, 100, 1000)
    augmentation = config.augmentation
    assert (augmentation.shift, augmentation.scale, augmentation.rotate) == (0.0625, 0.1, 45)
    assert (augmentation.cutout, augmentation.flip, augmentation.crop_padding) == (16, "random", 0)
    assert config.data.mean == (0.50736207, 0.4866896, 0.44108862)
    assert config.data.std == (0.26748818, 0.2565931, 0.2763085)


@pytest.mark.parametrize("name", recipe_names())
def test_a_written_configuration_reads_back_as_the_same(name: str, tmp_path: Path) -> None:
    config = load_config(name, overrides={"optimization.learning_rate": 0.1234567890123, "data.root": "a b/c"})
    write_config(config, tmp_path / "config.yaml", comment="a comment")
    assert load_config(files=[tmp_path / "config.yaml"]) == config


def test_every_setting_has_a_description() -> None:
    from cifar100.cli.main import build_parser

    parser = build_parser("train")
    described = {action.dest for action in parser._actions if action.help}
    assert {name for name in setting_names() if name != "recipe"} <= described


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.batchsize": 3}, r"unknown setting 'data.batchsize'; did you mean data.batch_size\?"),
        ({"batch_size": 3}, r"unknown setting 'batch_size'; did you mean data.batch_size\?"),
        ({"data.batch_size": "many"}, r"--data.batch_size is many, but it must be a whole number"),
        ({"data.batch_size": 2.5}, r"--data.batch_size is 2.5, but it must be a whole number"),
        ({"data.batch_size": 0}, r"--data.batch_size is 0, but it must be at least 1"),
        ({"data.batch_size": None}, r"--data.batch_size"),
        ({"data.pipeline": "video"}, r"--data.pipeline is video, but it must be one of images, packed"),
        ({"data.mean": [1, 2]}, r"--data.mean is \[1, 2\], but it must be 3 numbers in brackets"),
        (
            {"data.mean": [0.5, 0.5, 128]},
            r"--data.mean is \[0.5, 0.5, 128\], but each value must be at least 0 and at most 1",
        ),
        ({"data.mean": [0.5, 0.5, 0.5], "data.std": None}, r"must be set together"),
        ({"optimization.learning_rate": "atuo"}, r"--optimization.learning_rate is atuo, but it must be a number or"),
        ({"optimization.learning_rate": float("nan")}, r"--optimization.learning_rate is nan"),
        ({"optimization.learning_rate": -1}, r"--optimization.learning_rate is -1, but it must be more than 0"),
        ({"data.validation_fraction": 1}, r"--data.validation_fraction is 1, .* at most 0.9"),
        ({"model.name": "vgg"}, r"--model.name is vgg, but it must be one of"),
        (
            {"model.name": "fast_net", "model.stem": "imagenet"},
            r"--model.stem imagenet has no effect: --model.name fast_net takes blocks, logit_scale, widths",
        ),
        ({"model.widths": [1, 2, 3]}, r"--model.widths \[1, 2, 3\] has no effect: --model.name resnet18 takes"),
        ({"augmentation.flip": "alternating"}, r"--augmentation.flip alternating needs --data.pipeline packed"),
        (
            {"optimization.optimizer": "muon", "optimization.nesterov": True, "optimization.cycle_momentum": True},
            r"--optimization.cycle_momentum true has no effect: it needs --optimization.optimizer sgd or adamw",
        ),
        ({"optimization.optimizer": "muon", "optimization.nesterov": False}, "muon always has Nesterov momentum"),
        (
            {"optimization.momentum": 0.8},  # of the recipe `original`, whose schedule cycles the momentum
            r"--optimization.momentum 0.8 has no effect: it needs --optimization.cycle_momentum false; leave it out",
        ),
        ({"training.deterministic": "perhaps"}, r"--training.deterministic is perhaps, but it must be true or false"),
        ({"training.resolutions": "big"}, r"must be whole numbers in brackets, as in \[16, 24, 32\] or null"),
        (
            {"data.pipeline": "packed", "training.resolutions": [20, 32]},
            r"2 resolutions need 1 number between 0 and 1",
        ),
        (
            {"data.pipeline": "packed", "training.resolutions": [8, 32], "training.resolution_changes": [0.5]},
            r"must be at least 16 and at most 256",
        ),
        (
            {
                "data.pipeline": "packed",
                "training.resolutions": [16, 24, 32],
                "training.resolution_changes": [0.5, 0.2],
            },
            r"3 resolutions need 2 rising numbers",
        ),
        (
            {"data.pipeline": "packed", "augmentation.cutmix_probability": 0.7, "augmentation.mixup_probability": 0.7},
            r"add up to more than 1",
        ),
        ({"training.max_epochs": 0}, r"--training.max_epochs is 0.*must be more than 0"),
        ({"recipe": "orginal"}, r"no recipe 'orginal'; did you mean original\?"),
    ],
)
def test_a_wrong_setting_gets_one_line_that_names_it(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(overrides=overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [1, 2", r"is not valid YAML \(line 1: expected"),
        ("trainning: {seed: 1}", r"unknown section 'trainning' in .*; did you mean training\?"),
        ("- 1\n- 2", r"expected sections such as"),
        ("data: 3", r"section 'data' in .* holds 3, expected settings"),
        ("data: {batchsize: 3}", r"unknown setting 'data.batchsize' in"),
        ("data: {1: 3}", r"unknown setting 'data.1'"),
        ("data: !!python/object/apply:os.system ['touch /tmp/cifar100_yaml_ran']", r"is not valid YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", r"line 1: anchors and aliases"),
        ("data:\n  batch_size: 3\n  batch_size: 4", r"line 3: batch_size is given twice, first in line 2"),
        ("data: {seed: 1}\ntraining: {}\ndata: {}", r"line 3: data is given twice, first in line 1"),
        ("data: {batch_size: 3}\ndata.batch_size: 4", r"data.batch_size is given twice in .*; remove one"),
        ("data: {batch_size: 12:30:45}", r"--data.batch_size is 12:30:45, but it must be a whole number"),
        ("data: {<<: {batch_size: 4}}", r"unknown setting 'data.<<'"),
        ("data: {batch_size: 0}", r"wrong.yaml: --data.batch_size is 0, but it must be at least 1"),
        (
            "optimization: {lr: 0.1}",
            r"unknown setting 'optimization.lr' in .*; did you mean optimization.learning_rate",
        ),
        (
            "model: resnet18",
            r"section 'model' in .* holds resnet18, expected settings; did you mean model.name",
        ),
        ("network: {name: resnet18}", r"unknown section 'network' in .*; did you mean model\?"),
        ("recipe: [a]", r"recipe is \[a\], but it must be one of original, "),
        ("\x00", r"is not valid YAML"),
        ("[" * 5000, r"is not valid YAML"),
    ],
)
def test_a_wrong_file_gets_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(files=[write(tmp_path / "wrong.yaml", text)])
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/cifar100_yaml_ran").exists()


def test_a_missing_or_huge_file_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_config(files=[tmp_path / "missing.yaml"])
    with pytest.raises(UserError, match="larger than"):
        load_config(files=[write(tmp_path / "huge.yaml", "#" * 1_100_000)])


def test_nothing_in_a_file_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "told")
    config = load_config(files=[write(tmp_path / "config.yaml", "data: {root: '${SECRET}/$SECRET/~'}")])
    assert str(config.data.root) == "${SECRET}/$SECRET/~"


def test_a_saved_configuration_is_plain_data() -> None:
    assert yaml.safe_load(yaml.safe_dump(to_dict(load_config()))) == to_dict(load_config())


def test_a_complete_configuration_needs_no_recipe_of_its_name(tmp_path: Path) -> None:
    config = load_config("strong")
    file = tmp_path / "config.yaml"
    write_config(config, file, comment="a run")
    file.write_text(file.read_text().replace("recipe: strong", "recipe: gone"))
    assert load_config(files=[file]) == replace(config, recipe="gone")
    write_config(Config(), file, comment="a run without a recipe")
    assert load_config(files=[file]) == Config()


def test_settings_of_a_recipe_that_lose_their_effect_return_to_their_defaults() -> None:
    other = load_config("original", overrides={"model.name": "fast_net"})
    assert (other.model.stem, other.model.widths) == (None, (64, 256, 256))
    plain = load_config("strong", overrides={"optimization.ema_decay": None})
    assert (plain.optimization.ema_final_decay, plain.optimization.ema_start) == (None, 0.0)
    with pytest.raises(UserError, match=r"--optimization.ema_start 0.3 has no effect"):
        load_config("strong", overrides={"optimization.ema_decay": None, "optimization.ema_start": 0.3})


def test_words_and_numbers_of_a_file_mean_what_people_expect(tmp_path: Path) -> None:
    text = """
model:
data: {root: 2024}
optimization: {learning_rate: 1e-3, nesterov: no, teacher: 2024}
training: {deterministic: on, channels_last: yes, loggers: none, max_epochs: 010}
"""
    config = load_config(files=write(tmp_path / "mine.yaml", text))
    optimization, training = config.optimization, config.training
    assert (optimization.learning_rate, optimization.nesterov, optimization.teacher) == (0.001, False, "2024")
    assert (training.deterministic, training.channels_last) == (True, True)
    assert (training.loggers, training.max_epochs) == ((), 10)
    assert config.data.root == Path("2024")


LENGTHS = [
    ("original", {}, (50, None)),
    ("laptop", {}, (None, 9.85)),
    ("laptop", {"training.max_epochs": "1"}, (1, None)),
    ("original", {"training.max_minutes": 5}, (None, 5)),
    ("laptop", {"training.max_epochs": 1, "training.max_minutes": 2}, (1, 2)),
    ("laptop", {"training.max_minutes": "null"}, (30, None)),
    ("original", {"training.max_epochs": None}, (30, None)),
]


@pytest.mark.parametrize(("recipe", "given", "expected"), LENGTHS)
def test_a_length_given_by_hand_replaces_the_recipes(
    recipe: str, given: dict[str, Any], expected: tuple[float | None, float | None], tmp_path: Path
) -> None:
    by_option = load_config(recipe, overrides=given).training
    file = write(tmp_path / "mine.yaml", yaml.safe_dump({"recipe": recipe, **given}))
    by_file = load_config(files=file).training
    assert (by_option.max_epochs, by_option.max_minutes) == (by_file.max_epochs, by_file.max_minutes) == expected
    complete = tmp_path / "config.yaml"
    write_config(load_config(recipe), complete, comment="a run")
    on_resume = load_complete_config(complete, overrides=given).training
    assert (on_resume.max_epochs, on_resume.max_minutes) == expected


def test_a_file_and_an_option_can_give_both_lengths(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", "training: {max_minutes: 5}")
    both = load_config("original", files=file, overrides={"training.max_epochs": 2}).training
    assert (both.max_epochs, both.max_minutes) == (2, 5)


def test_resolutions_replace_the_changes_between_another_number_of_them() -> None:
    training = load_config("fast", overrides={"training.resolutions": [32]}).training
    assert (training.resolutions, training.resolution_changes) == ((32,), None)
    with pytest.raises(UserError, match=r"2 resolutions need 1 number .* as in \[0.5\]"):
        load_config("fast", overrides={"training.resolutions": [24, 32]})


def test_a_complete_file_is_a_base_like_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    write_config(load_config("strong"), file, comment="a run")
    plain = load_config(files=file, overrides={"optimization.ema_decay": None})
    assert plain.optimization.ema_final_decay is None
    file.write_text(re.sub(r"ema_decay: [\d.]+", "ema_decay: null", file.read_text()))
    with pytest.raises(UserError, match=r"config.yaml: --optimization.ema_\w+ .* has no effect"):
        load_config(files=file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": ["quickstart"]}, r"recipe is \[quickstart\], but it must be one of"),
        ({"recipe": "mine.yaml"}, r"no recipe 'mine.yaml'.* looks like a file: use --config"),
        ({"files": 5}, r"files is 5, but it must be the path of a YAML file or a list of paths"),
        ({"files": [None]}, r"a path is expected, not NoneType"),
        ({"overrides": "training.max_epochs=3"}, r"overrides is training.max_epochs=3, but it must be a dict"),
        ({"overrides": {"model": {"nme": "resnet18"}}}, r"unknown setting 'model.nme'; did you mean model.name"),
    ],
)
def test_wrong_arguments_get_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(**arguments)
    assert "\n" not in str(caught.value)


def test_nested_overrides_are_settings() -> None:
    assert load_config(overrides={"data": {"batch_size": 3}}).data.batch_size == 3


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(UserError, match=r"no recipe ''"):
        load_config("")
    with pytest.raises(UserError, match=r"--data.root is '', but it must be a path"):
        load_config("quickstart", overrides={"data.root": ""})


def test_one_file_needs_no_list(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", "data: {batch_size: 32}")
    assert load_config(files=file) == load_config(files=str(file)) == load_config(files=[file])


def test_the_settings_of_a_run_of_an_earlier_version_are_read() -> None:
    """A setting that is added belongs into `ADDED_LATER`, with a default that leaves earlier runs as they were."""
    config = load_complete_config(Path(__file__).parent / "golden" / "config_of_0.1.0.yaml")
    assert config == load_config("original")


def write_as_an_earlier_version(config: Config, path: Path) -> Path:
    content = to_dict(config)
    for name in ADDED_LATER:
        section, _, key = name.partition(".")
        del content[section][key]
    return write(path, yaml.safe_dump(content))


@pytest.mark.parametrize("recipe", ["fast", "laptop", "quickstart"])
def test_settings_that_were_added_leave_earlier_runs_of_fast_net_as_they_were(recipe: str, tmp_path: Path) -> None:
    run = load_config(recipe, overrides={"model.blocks": "plain", "model.logit_scale": 1 / 3})
    earlier = write_as_an_earlier_version(run, tmp_path / "config.yaml")
    assert load_complete_config(earlier) == run


def test_a_complete_file_of_an_earlier_version_is_a_base_like_a_recipe(tmp_path: Path) -> None:
    file = write_as_an_earlier_version(load_config("strong"), tmp_path / "config.yaml")
    assert load_config(files=file) == load_config("strong")
    assert load_config(files=file, overrides={"optimization.ema_decay": None}).optimization.ema_final_decay is None
    file.write_text(file.read_text().replace("recipe: strong", "recipe: gone"))
    assert load_complete_config(file) == replace(load_config("strong"), recipe="gone")


def test_a_length_given_on_resume_replaces_the_other_of_an_earlier_version(tmp_path: Path) -> None:
    file = write_as_an_earlier_version(load_config("laptop"), tmp_path / "config.yaml")
    training = load_complete_config(file, overrides={"training.max_epochs": 20}).training
    assert (training.max_epochs, training.max_minutes) == (20, None)
