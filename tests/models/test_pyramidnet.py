import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.models.pyramidnet import PyramidBlock, basic_layers


@pytest.mark.parametrize(
    ("name", "depth", "widths", "last"),
    # The widths after the first two blocks and after the last; 286 and 864 output channels as in the authors' table.
    [("pyramidnet110_270", 110, [21, 26], 286), ("pyramidnet272_200", 272, [4 * 18, 4 * 20], 864)],
)
def test_channels_rise_linearly_to_those_of_the_authors(name: str, depth: int, widths: list[int], last: int) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), 100)
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules()) == depth
    channels = [block.layers[-1].num_features for block in model.modules() if isinstance(block, PyramidBlock)]
    assert channels[:2] == widths
    assert channels[-1] == last
    assert channels == sorted(channels)


def test_a_shortcut_adds_channels_of_zeros() -> None:
    block = PyramidBlock(basic_layers(3, 5, 1), 2, stride=1)
    nn.init.zeros_(block.get_parameter("layers.5.weight"))
    x = torch.randn(2, 3, 6, 6)
    out = block(x)
    assert torch.equal(out[:, :3], x)
    assert not out[:, 3:].any()


@pytest.mark.parametrize("side", [6, 7])
def test_a_shortcut_that_halves_the_resolution_averages_2x2_pixels(side: int) -> None:
    block = PyramidBlock(basic_layers(3, 5, 2), 2, stride=2)
    nn.init.zeros_(block.get_parameter("layers.5.weight"))
    x = torch.randn(2, 3, side, side)
    out = block(x)
    corner = x[:, :, -1, -1] if side % 2 else x[:, :, -2:, -2:].mean((2, 3))
    torch.testing.assert_close(out[:, :3, -1, -1], corner)
    torch.testing.assert_close(out[:, :3, 0, 0], x[:, :, :2, :2].mean((2, 3)))
