"""What every network in the table must do."""

import copy
import io

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import MODELS, build_model
from cifar100.models.summary import count_parameters, mult_adds

CONFIGS = [
    ModelConfig(name="resnet18", stem="imagenet"),
    ModelConfig(name="resnet18", stem="cifar"),
    ModelConfig(name="resnet34"),
    ModelConfig(name="resnet50"),
    ModelConfig(name="wide_resnet28_10"),
    ModelConfig(name="fast_net"),
    ModelConfig(name="fast_net", widths=(8, 16, 12)),
]
SMALL = [config for config in CONFIGS if config.name in ("resnet18", "fast_net")]


def name_of(config: ModelConfig) -> str:
    return "-".join(str(part) for part in (config.name, config.stem, config.widths) if part is not None)


def build(config: ModelConfig, *, num_classes: int = 100) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes)


def images(number: int = 2, *, side: int = 32) -> torch.Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_every_model_is_tested_here() -> None:
    assert {config.name for config in CONFIGS} == set(MODELS)


@pytest.mark.parametrize(
    ("name", "stem", "num_parameters"),
    [
        # torchvision's published counts with 1000 classes (11,689,512 and so on) less 900 rows of the classifier
        ("resnet18", "imagenet", 11_689_512 - 900 * 513),
        ("resnet34", "imagenet", 21_797_672 - 900 * 513),
        ("resnet50", "imagenet", 25_557_032 - 900 * 2049),
        # less 64 filters of 3x7x7, plus 64 of 3x3x3
        ("resnet18", "cifar", 11_220_132),
        ("resnet34", "cifar", 21_797_672 - 900 * 513 - 64 * 3 * 40),
        ("resnet50", "cifar", 25_557_032 - 900 * 2049 - 64 * 3 * 40),
        ("wide_resnet28_10", None, 36_536_884),  # 36.5 M in the paper
        ("fast_net", None, 1_995_832),
    ],
)
def test_number_of_parameters(name: str, stem: str | None, num_parameters: int) -> None:
    assert count_parameters(build(ModelConfig(name=name, stem=stem))) == num_parameters


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


def test_only_fast_net_needs_images_to_start() -> None:
    needing = {config.name for config in CONFIGS if hasattr(build(config), "init_from_images")}
    assert needing == {"fast_net"}
