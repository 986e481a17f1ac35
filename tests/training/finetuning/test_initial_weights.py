"""Weights that a network starts from: what is loaded, what is replaced, what is refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from installed_timm import TINY, TINY_TRANSFORMER, skip_without_timm
from small_runs import small_config, small_overrides
from torch import Tensor, nn

from cifar100 import commands
from cifar100.config import Config, ModelConfig
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.models.summary import mult_adds
from cifar100.models.timm_networks import native_input
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config
from cifar100.training.finetuning.initial_weights import (
    check_initial_weights,
    load_initial_weights,
    starts_from_weights,
    with_native_input,
)
from cifar100.training.preflight.resources import check_memory

RESNET = {"name": "resnet18", "stem": "imagenet"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's: a ResNet-18 for 1000 classes."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(build_model(ModelConfig(**RESNET), 1000).state_dict(), path)
    return path


def resave(published: Path, path: Path, change: Any) -> Path:
    torch.save(change(torch.load(published)), path)
    return path


def started(path: Path, num_classes: int = 100, **settings: Any) -> tuple[nn.Module, Any]:
    config = ModelConfig(weights=path, **(RESNET | settings))
    torch.manual_seed(0)
    network = build_model(config, num_classes)
    return network, load_initial_weights(network, config, num_classes)


def assert_backbone(network: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, value in network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, expected[name]), name


def test_a_classifier_for_other_classes_is_replaced_and_said_so(published: Path) -> None:
    network, origin = started(published)
    torch.manual_seed(0)
    fresh = build_model(ModelConfig(**RESNET), 100)
    assert_backbone(network, torch.load(published))
    assert torch.equal(network.fc.weight, fresh.fc.weight)
    assert (origin.new, origin.classes, origin.by_position) == (("fc.bias", "fc.weight"), 1000, False)
    assert origin.describe() == f"{published}; new classifier (fc.bias, fc.weight), instead of one for 1,000 classes"


def test_a_classifier_for_as_many_classes_is_kept(published: Path) -> None:
    network, origin = started(published, 1000)
    assert torch.equal(network.fc.weight, torch.load(published)["fc.weight"])
    assert origin.describe() == str(published)


def test_weights_without_a_classifier_are_enough(published: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, Tensor]) -> Any:
        return {name: value for name, value in weights.items() if not name.startswith("fc.")}

    _, origin = started(resave(published, tmp_path / "file.pt", change))
    assert (origin.new, origin.classes) == (("fc.bias", "fc.weight"), None)


def test_counters_of_batch_normalisations_may_be_missing(published: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, Tensor]) -> Any:
        return {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}

    network, _ = started(resave(published, tmp_path / "file.pt", change))
    assert torch.equal(network.conv1.weight, torch.load(published)["conv1.weight"])


def test_weights_in_half_precision_are_converted(published: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, Tensor]) -> Any:
        return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}

    network, _ = started(resave(published, tmp_path / "file.pt", change))
    assert network.conv1.weight.dtype == torch.float32


def renamed(name: str) -> str:
    return name.replace("layer", "stage_").replace("conv", "c_").replace("fc", "output")


def test_names_of_another_program_are_matched_by_order_and_shape(published: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, Tensor]) -> Any:
        return OrderedDict((renamed(name), value) for name, value in weights.items())

    network, origin = started(resave(published, tmp_path / "file.pt", change))
    assert_backbone(network, torch.load(published))
    assert origin.by_position
    assert "; matched by order and shape, as their names are another program's; new classifier" in origin.describe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: dict(sorted((renamed(name), value) for name, value in weights.items())), "is missing in them"),
        (lambda weights: weights | {"conv1.weight": torch.zeros(64, 3, 3, 3)},
         r"conv1.weight is \(64, 3, 3, 3\) in them and \(64, 3, 7, 7\) in the network"),
        (lambda weights: weights | {"layer9.weight": torch.zeros(3)}, "have layer9.weight, which the network does not"),
        (lambda weights: weights | {"bn1.bias": torch.zeros(64, dtype=torch.int64), "layer9.weight": torch.zeros(3)},
         "bn1.bias is torch.int64 in them and torch.float32 in the network"),
        (lambda weights: {"a": torch.zeros(3)}, "conv1.weight is missing in them"),
        (lambda weights: weights | {"bn1.bias": torch.full((64,), torch.nan)}, r"are not finite \(bn1.bias\)"),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_one_line(change: Any, message: str, published: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        started(resave(published, tmp_path / "file.pt", change))
    assert "\n" not in str(raised.value)


def test_torchvisions_weights_need_its_stem(published: Path) -> None:
    with pytest.raises(UserError, match=r"conv1.weight is .* such as --model.stem"):
        started(published, stem="cifar")


def test_a_run_is_refused_before_its_folder_exists(
    published: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="belong to another network"):
        commands.train(small_config(tiny_data, **{"model.weights": published}))
    assert not (tmp_path / "logs").exists()


def test_a_check_needs_no_memory_for_the_network(published: Path) -> None:
    check_initial_weights(ModelConfig(weights=published, **RESNET), 10)
    check_initial_weights(ModelConfig(**RESNET), 10)


def test_a_run_remembers_its_first_weights_and_resumes_without_the_file(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = commands.train(small_config(tiny_data, **{"training.max_epochs": 1}), experiment="first")
    path = first.checkpoints / "best.ckpt"
    changes = {"model.weights": path, "training.max_epochs": 1}
    run = commands.train(small_config(tiny_data, **changes), experiment="second")
    origin = json.loads(run.initial_weights.read_text())
    assert (origin["source"], origin["new"]) == (path.as_posix(), [])
    assert len(origin["sha256"]) == 64
    assert f"weights  {path}" in run.training_log.read_text()
    path.unlink()
    commands.train(resume=run, changes={"training.max_epochs": 2})
    assert commands.evaluate(run, split="validation").metrics["accuracy"].value > 0


def test_a_whitening_that_was_loaded_is_not_computed_again(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from cifar100.data.folder.layout import DataFolder
    from cifar100.training.experiment import assemble, make_split

    config = small_config(tiny_data)
    torch.manual_seed(9)
    torch.save(build_model(config.model, 100).state_dict(), tmp_path / "file.pt")
    config = small_config(tiny_data, **{"model.weights": tmp_path / "file.pt"})
    experiment = assemble(config, DataFolder(tiny_data).info(), make_split(config))
    expected = torch.load(tmp_path / "file.pt")
    assert all(torch.equal(value, expected[name]) for name, value in experiment.module.network.state_dict().items())


def test_the_normalisation_of_a_run_stays_with_its_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"data.mean": [0.3, 0.4, 0.5], "data.std": [0.2, 0.2, 0.2], "training.max_epochs": 1}
    first = commands.train(small_config(tiny_data, **own), experiment="first")
    path = first.checkpoints / "best.ckpt"
    config = with_native_input(small_config(tiny_data, **{"model.weights": path}))
    assert (config.data.mean, config.data.std) == ((0.3, 0.4, 0.5), (0.2, 0.2, 0.2))
    given = {"model.weights": path, "data.mean": [0.1, 0.1, 0.1], "data.std": [1, 1, 1]}
    assert with_native_input(small_config(tiny_data, **given)).data.mean == (0.1, 0.1, 0.1)


def test_random_parameters_change_no_setting(tiny_data: Path) -> None:
    config = small_config(tiny_data)
    assert not starts_from_weights(config.model)
    assert with_native_input(config) == config


def timm_config(root: Path, **changes: Any) -> Config:
    skip_without_timm()
    plain = {key: value for key, value in small_overrides(root).items() if not key.startswith("model.")}
    return load_config("quickstart", overrides={**plain, "model.name": TINY, "model.pretrained": True, **changes})


def test_published_weights_bring_their_normalisation_and_size(tiny_data: Path) -> None:
    config = with_native_input(timm_config(tiny_data))
    native = native_input(TINY)
    assert (config.data.mean, config.data.std) == (native.mean, native.std)
    assert config.data.image_size == 160
    assert with_native_input(timm_config(tiny_data, **{"data.image_size": 64})).data.image_size == 64


@pytest.mark.parametrize("side", [None, 48])
def test_a_run_is_continued_at_its_own_image_size(side: int | None, tiny_data: Path, tmp_path: Path) -> None:
    """Not at the size of the weights that timm publishes, with which it did not begin."""
    config = timm_config(tiny_data, **{"model.pretrained": False, "data.image_size": side})
    content = {
        "state_dict": {f"network.{name}": value for name, value in build_model(config.model, 10).state_dict().items()},
        "hyper_parameters": {"config": {"data": {"mean": None, "std": None, "image_size": side}}},
    }
    torch.save(content, tmp_path / "best.ckpt")
    given = {"model.pretrained": False, "model.weights": tmp_path / "best.ckpt"}
    assert with_native_input(timm_config(tiny_data, **given)).data.side == (side or 32)


def test_a_custom_data_module_keeps_the_size_of_its_images(tiny_data: Path) -> None:
    config = with_native_input(timm_config(tiny_data), scales_images=False)
    assert config.data.image_size is None
    assert config.data.mean is not None


def test_a_transformer_is_built_for_another_size(tiny_data: Path) -> None:
    config = with_native_input(timm_config(tiny_data, **{"model.name": TINY_TRANSFORMER, "data.image_size": 64}))
    assert config.model.arguments == ("img_size=64",)
    assert build_model(config.model, 10)(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    again = with_native_input(config)
    assert again.model.arguments == ("img_size=64",)


def test_a_transformer_with_random_parameters_is_built_for_the_images(tiny_data: Path) -> None:
    config = with_native_input(timm_config(tiny_data, **{"model.name": TINY_TRANSFORMER, "model.pretrained": False}))
    assert config.model.arguments == ("img_size=32",)
    assert (config.data.mean, config.data.image_size) == (None, None)


def test_a_network_that_does_not_take_small_images_is_one_line(tiny_data: Path) -> None:
    given = {
        "model.name": TINY_TRANSFORMER,
        "model.pretrained": False,
        "model.arguments": ["img_size=48", "dynamic_img_size=false"],
    }
    config = with_native_input(timm_config(tiny_data, **given))
    with pytest.raises(UserError, match=r"timm/test_vit does not take images of 32 pixels .*--data.image_size"):
        check_memory(config, 100, num_train=10, accelerator="cpu")


def test_weights_and_pretrained_contradict_each_other(tiny_data: Path) -> None:
    with pytest.raises(UserError, match=r"--model.weights and --model.pretrained both set"):
        timm_config(tiny_data, **{"model.weights": "file.pt"})


def test_weights_from_a_file_replace_the_pretrained_ones_of_a_recipe() -> None:
    config = load_config("finetune", overrides={"model.weights": "file.pt"})
    assert (config.model.weights, config.model.pretrained) == (Path("file.pt"), False)


def test_a_run_of_a_tiny_timm_network_from_a_file(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_timm()
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(build_model(ModelConfig(name=TINY), 1000).state_dict(), tmp_path / "file.pt")
    changes = {"model.pretrained": False, "model.weights": tmp_path / "file.pt", "data.image_size": 48}
    config = timm_config(tiny_data, **changes, **{"training.max_epochs": 1, "training.limit_train_batches": 3})
    run = RunFolder(commands.train(config, experiment="a").path)
    text = run.config.read_text()
    assert "image_size: 48" in text
    assert f"mean:\n  - {native_input(TINY).mean[0]}" in text
    counted = mult_adds(build_model(ModelConfig(name=TINY), 100), image_shape=(3, 48, 48))
    assert f"one image: {counted:,}" in run.model_info.read_text()
    evaluation = commands.evaluate(run, split="validation")
    assert 0 <= evaluation.metrics["accuracy"].value <= 1
    commands.report(run)
    pytest.importorskip("onnxruntime")
    exported = commands.export(run)
    assert exported.largest_difference < 1e-4
