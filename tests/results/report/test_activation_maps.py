"""Grad-CAM against its definition, and networks that have no map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trained_networks import ColourNetwork, stub

from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.results.report.activation_maps import activation_maps, find_layer
from cifar100.settings import load_config

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
CLASSES = np.array([0, 5, 2, 2, 1])


class Pooled(nn.Module):
    """A convolution, a mean over all positions and a linear head, whose gradients are known."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=in_place)
        self.head = nn.Linear(4, 6)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.convolution(images)).mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("in_place", [False, True])
def test_a_map_weights_the_channels_by_their_gradients(in_place: bool) -> None:
    torch.manual_seed(0)
    network = Pooled(in_place=in_place).eval()
    trained = stub(network)
    found = activation_maps(trained, IMAGES, CLASSES)
    with torch.no_grad():
        channels = network.relu(network.convolution(trained.normalized(torch.from_numpy(IMAGES))))
        weights = network.head.weight[torch.from_numpy(CLASSES)] / 32**2  # of a mean, then a linear function
        expected = torch.einsum("nk,nkhw->nhw", weights, channels).relu()
        expected = expected / expected.amax((1, 2), keepdim=True)
    np.testing.assert_allclose(found.maps, expected, atol=1e-5)
    assert (found.layer, found.size) == ("relu", (32, 32))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("overrides", "layer", "size"),
    [
        ({"model.name": "fast_net", "model.widths": [8, 8, 8]}, "stage3.conv1", (7, 7)),
        ({"model.name": "resnet18", "model.stem": "cifar"}, "layer4", (4, 4)),
        ({"model.name": "resnet18", "model.stem": "imagenet"}, "layer2", (4, 4)),
    ],
)
def test_the_last_layer_with_enough_positions_is_mapped(
    overrides: dict[str, object], layer: str, size: tuple[int, int]
) -> None:
    network = build_model(load_config("baseline", overrides=overrides).model, 6).eval()
    assert find_layer(network, torch.zeros(1, 3, 32, 32))[::2] == (layer, size)
    maps = activation_maps(stub(network), IMAGES, CLASSES).maps
    assert maps.shape == (5, 32, 32)
    assert maps.min() >= 0
    assert maps.max() <= 1


class Attending(nn.Module):
    """Patches as tokens, whose outputs have four dimensions as in timm's transformers, but no positions in two."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.norm = nn.Identity()
        self.queries = nn.Identity()
        self.head = nn.Linear(16, 6)

    def forward(self, images: Tensor) -> Tensor:
        channels_last = self.norm(self.patches(images).permute(0, 2, 3, 1))  # (N, 8, 8, 16)
        tokens = channels_last.flatten(1, 2)  # (N, 64, 16)
        heads = self.queries(tokens.unflatten(2, (2, 8)).transpose(1, 2))  # (N, 2, 64, 8)
        logits: Tensor = self.head(heads.transpose(1, 2).flatten(2).mean(dim=1))
        return logits


def test_the_vectors_of_attention_are_no_positions() -> None:
    torch.manual_seed(0)
    found = activation_maps(stub(Attending().eval()), IMAGES, CLASSES)
    assert (found.layer, found.size) == ("patches", (8, 8))


def test_a_class_that_nothing_speaks_for_has_an_empty_map() -> None:
    network = Pooled().eval()
    nn.init.constant_(network.head.weight, -1.0)
    assert not activation_maps(stub(network), IMAGES, CLASSES).maps.any()


class Detached(Pooled):
    """Has positions, but no gradient leads to them."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach()


def test_a_network_without_a_map_is_one_line() -> None:
    with pytest.raises(UserError, match="ColourNetwork has no layer with 4 x 4 positions or more"):
        activation_maps(stub(ColourNetwork(6)), IMAGES, CLASSES)
    with pytest.raises(UserError, match="captum cannot map Detached"):
        activation_maps(stub(Detached().eval()), IMAGES, CLASSES)
