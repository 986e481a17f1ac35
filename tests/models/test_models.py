"""What every network in the table must do."""

import copy
import io

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model, networks
from cifar100.models.summary import count_parameters, mult_adds

VARIANTS = [
    ModelConfig(name="resnet18", stem="imagenet"),
    ModelConfig(name="resnet18", shortcut="average_pool"),
    ModelConfig(name="fast_net", widths=(8, 16, 12)),
]
CONFIGS = [*(ModelConfig(name=name) for name in networks()), *VARIANTS]
SMALL = [config for config in CONFIGS if count_parameters(build_model(config, 10)) < 15_000_000]

PUBLISHED = {
    # torchvision's counts with 1000 classes less 900 rows of the classifier, and with 64 filters of 3x3x3, not 3x7x7
    "resnet18": 11_689_512 - 900 * 513 - 64 * 3 * 40,
    "resnet34": 21_797_672 - 900 * 513 - 64 * 3 * 40,
    "resnet50": 25_557_032 - 900 * 2049 - 64 * 3 * 40,
    "wide_resnet28_10": 36_536_884,  # 36.5 M in the paper
    "fast_net": 1_995_832,
}
"""Parameters with the default settings and 100 classes, for networks that have a published count."""


def name_of(config: ModelConfig) -> str:
    return "-".join(
        str(part) for part in (config.name, config.stem, config.shortcut, config.widths) if part is not None
    )


def build(config: ModelConfig, *, num_classes: int = 100) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes)


def images(number: int = 2, *, side: int = 32) -> torch.Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters(name: str) -> None:
    assert count_parameters(build(ModelConfig(name=name))) == PUBLISHED[name]


@pytest.mark.parametrize("name", networks())
def test_a_network_has_a_summary_and_describes_its_settings(name: str) -> None:
    component = networks()[name]
    assert component.summary.endswith(".")
    assert all(setting.help.endswith(".") for setting in component.settings)


def test_the_missions_network() -> None:
    model = build(ModelConfig(name="resnet18", stem="imagenet"))
    assert count_parameters(model) == 11_227_812
    assert mult_adds(model) == pytest.approx(37.07e6, abs=0.005e6)


def test_a_resnet_without_stem_has_the_cifar_stem() -> None:
    assert build(ModelConfig(name="resnet18")).conv1.weight.shape == (64, 3, 3, 3)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_gradient_reaches_every_trainable_parameter(config: ModelConfig) -> None:
    model = build(config, num_classes=10)
    logits = model(images(3))
    assert logits.shape == (3, 10)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert not without


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_the_seed_decides_the_weights(config: ModelConfig) -> None:
    first, again = build(config), build(config)
    torch.manual_seed(1)
    other = build_model(config, 100)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    assert any(not torch.equal(value, other.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_weights_saved_and_loaded_give_the_same_logits(config: ModelConfig) -> None:
    model = build(config)
    model(images(4))  # moves the batch-norm statistics
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(1)
    loaded = build_model(config, 100)
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(model.eval()(images()), loaded.eval()(images()))


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_evaluation_changes_nothing_and_repeats_itself(config: ModelConfig) -> None:
    model = build(config).eval()
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model(images()), model(images()))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_channels_last_gives_the_same_logits(config: ModelConfig) -> None:
    model = build(config).eval()
    expected = model(images())
    model.to(memory_format=torch.channels_last)
    logits = model(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_can_be_traced_in_one_piece(config: ModelConfig) -> None:
    """A network without graph breaks; the eager back end needs no C++ compiler."""
    model = build(config)
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images()), model(images()))


@pytest.mark.parametrize("side", [16, 20, 24, 28, 32])
@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_smaller_images_work(config: ModelConfig, side: int) -> None:
    assert build(config)(images(side=side)).shape == (2, 100)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_what_a_network_computes_from_images_is_in_its_state(config: ModelConfig) -> None:
    model = build(config)
    if not hasattr(model, "init_from_images"):
        pytest.skip("computes nothing from images")
    before = copy.deepcopy(model.state_dict())
    model.init_from_images(images(64))
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    other = build(config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(images()), other.eval()(images()))
