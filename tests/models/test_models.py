"""What every network in the table must do."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig, section_settings
from cifar100.models import build_model, networks
from cifar100.models.summary import count_parameters, mult_adds

VARIANTS = [
    ModelConfig(name="resnet18", stem="imagenet"),
    ModelConfig(name="resnet18", shortcut="average_pool"),
    ModelConfig(name="fast_net", widths=(8, 16, 12)),
    ModelConfig(name="fast_net", widths=(8, 16, 12), blocks="residual"),
    ModelConfig(name="fast_net", widths=(8, 16, 12), blocks="narrow", logit_scale=0.1),
]
CONFIGS = [*(ModelConfig(name=name) for name in networks()), *VARIANTS]

PUBLISHED = {
    # torchvision's counts with 1000 classes less 900 rows of the classifier, and with 64 filters of 3x3x3, not 3x7x7
    "resnet18": 11_689_512 - 900 * 513 - 64 * 3 * 40,
    "resnet34": 21_797_672 - 900 * 513 - 64 * 3 * 40,
    "resnet50": 25_557_032 - 900 * 2049 - 64 * 3 * 40,
    # torchvision's less 900 rows; its first convolution is ours
    "mobilenet_v2": 3_504_872 - 900 * 1281,
    "shufflenet_v2": 2_278_604 - 900 * 1025,
    # torchvision's less three linear layers and 4,224 biases of convolutions, with one linear layer
    "vgg16_bn": 138_365_992 - (25_088 * 4096 + 4096) - (4096 + 1) * 4096 - 4097 * 1000 - 4224 + 513 * 100,
    # of K. Liu's widely used code with 10 classes; with 90 rows, and with the last normalisation, which it lacks
    "preact_resnet18": 11_171_146 + 90 * 513 + 2 * 512,
    # ResNet-18 and the paper's (2 / r) sum of N_s C_s^2 over the stages, with r = 16
    "se_resnet18": 11_220_132 + 2 * sum(2 * channels**2 for channels in (64, 128, 256, 512)) // 16,
    "wide_resnet28_10": 36_536_884,  # 36.5 M in the paper
    "densenet_bc_100_12": 769_162 + 90 * 343,  # of A. Veit's code with 10 classes; 0.8 M in the paper
    # 34.4 M in the paper, that is with 10 classes, 34,426,698
    "resnext29_8x64d": 34_426_698 + 90 * 1025,
    # of O. Semery's pytorchcv; 28.3 M and 26.0 M in the paper
    "pyramidnet110_270": 28_511_307,
    "pyramidnet272_200": 26_288_692,
    "cct_7_3x1": 3_760_139
    + 90 * 257
    - 1,  # 3.760 M in the paper with 10 classes; the bias of the pooling has no effect
    "fast_net": 1_995_832,
}
"""Parameters with the default settings and 100 classes."""


def name_of(config: ModelConfig) -> str:
    return "-".join(
        str(part)
        for part in (config.name, config.stem, config.shortcut, config.widths, config.blocks)
        if part is not None
    )


def build(config: ModelConfig, *, num_classes: int = 100) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes)


def is_large(config: ModelConfig) -> bool:
    return bool(networks()[config.name].facts["parameters"] > 15_000_000)


def takes_long(config: ModelConfig) -> bool:
    return bool(networks()[config.name].facts["mult_adds"] > 4e9)


def as_parameter(config: ModelConfig, *, slow: bool) -> Any:
    return pytest.param(config, id=name_of(config), marks=[pytest.mark.slow] * slow)


EACH = pytest.mark.parametrize("config", [as_parameter(config, slow=is_large(config)) for config in CONFIGS])
"""Every network; slow with the large ones."""

TRACED_QUICKLY = ("cct_7_3x1", "fast_net", "resnet18")
"""Tracing takes time for each layer: 5 s for a DenseNet."""


def images(number: int = 2, *, side: int = 16) -> torch.Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", networks())
def test_facts_are_those_of_the_network(name: str) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), 100)
    facts = networks()[name].facts
    assert (facts["parameters"], facts["mult_adds"]) == (count_parameters(model), mult_adds(model))
    assert facts["paper"]


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_every_network_takes_images_of_every_size(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = build_model(config, 7)
    usual = mult_adds(model)
    model.eval()
    for side in (16, 64, 96, 256):
        assert model(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7), side
        if side >= 64 and config.name != "cct_7_3x1":  # attention: its square
            times = mult_adds(model, image_shape=(3, side, side)) / usual
            assert times == pytest.approx((side / 32) ** 2, rel=0.3), side


@pytest.mark.parametrize("name", networks())
def test_number_of_parameters_is_the_published_one(name: str) -> None:
    assert networks()[name].facts["parameters"] == PUBLISHED[name]


@pytest.mark.parametrize("name", networks())
def test_a_network_has_a_summary(name: str) -> None:
    assert networks()[name].summary.endswith(".")


def test_every_setting_of_the_networks_is_described() -> None:
    names = {setting.name for component in networks().values() for setting in component.settings}
    texts = {setting.name: setting.help for setting in section_settings("model") if setting.name in names}
    assert names == texts.keys()
    assert all(text.endswith(".") for text in texts.values())


def test_the_missions_network() -> None:
    model = build(ModelConfig(name="resnet18", stem="imagenet"))
    assert count_parameters(model) == 11_227_812
    assert mult_adds(model) == 37_062_656  # torchinfo adds the 9,600 parameters of normalisations, and the biases


def test_a_resnet_without_stem_has_the_cifar_stem() -> None:
    assert build(ModelConfig(name="resnet18")).conv1.weight.shape == (64, 3, 3, 3)


@pytest.mark.parametrize("config", [as_parameter(config, slow=takes_long(config)) for config in CONFIGS])
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


@EACH
def test_the_seed_decides_the_weights(config: ModelConfig) -> None:
    first, again = build(config), build(config)
    torch.manual_seed(1)
    other = build_model(config, 100)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    assert any(not torch.equal(value, other.state_dict()[key]) for key, value in first.state_dict().items())


@EACH
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


@EACH
def test_evaluation_changes_nothing_and_repeats_itself(config: ModelConfig) -> None:
    model = build(config).eval()
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model(images()), model(images()))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@EACH
def test_channels_last_gives_the_same_logits(config: ModelConfig) -> None:
    model = build(config).eval()
    expected = model(images())
    model.to(memory_format=torch.channels_last)
    logits = model(images().to(memory_format=torch.channels_last))
    # In evaluation, the activations of a deep network that was never trained grow to millions, and rounding with them.
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("config", [as_parameter(config, slow=config.name not in TRACED_QUICKLY) for config in CONFIGS])
def test_can_be_traced_in_one_piece(config: ModelConfig) -> None:
    """A network without graph breaks; the eager back end needs no C++ compiler."""
    model = build(config)
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    torch.manual_seed(1)  # for the networks that drop something at random
    logits = compiled(images())
    torch.manual_seed(1)
    torch.testing.assert_close(logits, model(images()))


@EACH
def test_images_of_other_sizes_work(config: ModelConfig) -> None:
    model = build(config).eval()
    for side in (16, 17, 20, 24, 28, 32, 40):
        with torch.no_grad():
            assert model(images(1, side=side)).shape == (1, 100)


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_what_a_network_computes_from_images_is_in_its_state(config: ModelConfig) -> None:
    with torch.device("meta"):
        if not hasattr(build_model(config, 100), "init_from_images"):
            pytest.skip("computes nothing from images")
    model = build(config)
    before = copy.deepcopy(model.state_dict())
    model.init_from_images(images(64))
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    other = build(config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(images()), other.eval()(images()))
