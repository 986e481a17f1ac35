"""Stochastic depth and ResNet-D shortcuts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cifar100.config import ModelConfig
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.models.residual import ResidualBlock, set_stochastic_depth
from cifar100.settings import load_config


def test_a_residual_is_left_out_for_whole_images_and_its_expectation_stays() -> None:
    block = ResidualBlock()
    block.drop_probability = 0.3
    torch.manual_seed(0)
    dropped = block.drop(torch.ones(20_000, 2, 3, 3))
    first = dropped[:, 0, 0, 0]
    assert torch.equal(dropped, first[:, None, None, None].expand_as(dropped))
    assert set(first.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)  # 6 standard deviations
    assert torch.equal(block.eval().drop(torch.ones(4, 1, 1, 1)), torch.ones(4, 1, 1, 1))


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 8), ("resnet50", 16), ("wide_resnet28_10", 12)])
def test_the_probability_rises_linearly_in_the_order_of_the_blocks(name: str, blocks: int) -> None:
    with torch.device("meta"):
        network = build_model(ModelConfig(name=name, stochastic_depth=0.4), 100)
    probabilities = [module.drop_probability for module in network.modules() if isinstance(module, ResidualBlock)]
    assert probabilities == pytest.approx([0.4 * (number + 1) / blocks for number in range(blocks)])


def test_every_block_drops_its_residual() -> None:
    network = build_model(ModelConfig(name="resnet18"), 10).train()
    set_stochastic_depth(network, 0.9)
    images = torch.randn(4, 3, 32, 32)
    assert not torch.equal(network(images), network(images))
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            block.drop_probability = 1 - 1e-7  # no image keeps its residual
    assert torch.isfinite(network(images)).all()
    reached = torch.autograd.grad(network(images).sum(), network.layer1[0].conv1.weight)[0]
    assert not reached.any()


def test_without_stochastic_depth_nothing_is_drawn() -> None:
    network = build_model(ModelConfig(name="resnet18"), 10).train()
    before = torch.get_rng_state()
    network(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("side", [32, 20])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_an_average_pool_shortcut_sees_every_pixel(name: str, side: int) -> None:
    plain = build_model(ModelConfig(name=name), 100)
    averaging = build_model(ModelConfig(name=name, shortcut="average_pool"), 100)
    assert {k: v.shape for k, v in averaging.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    assert averaging(torch.randn(2, 3, side, side)).shape == (2, 100)
    shortcut = averaging.layer2[0].downsample.eval()
    channels = shortcut.get_submodule("0").in_channels
    x = torch.randn(1, channels, 8, 8)
    expected = F.conv2d(x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)), shortcut.get_submodule("0").weight)
    torch.testing.assert_close(shortcut(x), shortcut.get_submodule("1")(expected))
    assert all(
        not isinstance(layer, nn.AvgPool2d) for layer in averaging.layer1.modules()
    )  # no resolution halves there


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"model.name": "fast_net", "model.stochastic_depth": 0.1},
            "stochastic_depth 0.1 has no effect: --model.name fast_net takes blocks, logit_scale, widths",
        ),
        (
            {"model.name": "wide_resnet28_10", "model.shortcut": "average_pool"},
            "shortcut average_pool has no effect: --model.name wide_resnet28_10 takes stochastic_depth",
        ),
    ],
)
def test_what_a_network_does_not_have_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("baseline", overrides=overrides)
