"""The deployed network against the trained one."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from trained_networks import ColourNetwork, stub

from cifar100.results.export.deployed import DeployedNetwork
from cifar100.settings import load_config


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def test_the_deployed_network_is_the_trained_one_with_its_temperature() -> None:
    torch.manual_seed(0)
    trained = stub(ColourNetwork(6))
    images = torch.cat([tensor(noise(32, 32)), tensor(noise(32, 32)) // 2])
    assert torch.equal(DeployedNetwork(trained)(images), trained(images))
    object.__setattr__(trained, "temperature", 2.0)
    torch.testing.assert_close(DeployedNetwork(trained)(images), (trained.logits(images) / 2).softmax(1))


def test_the_deployed_network_enlarges_as_the_trained_one_does() -> None:
    network, images = ColourNetwork(6), tensor(noise(32, 32))
    trained = stub(network, config=load_config(overrides={"data.image_size": 48}))
    assert torch.equal(DeployedNetwork(trained)(images), trained(images))
    assert not torch.equal(trained(images), stub(network)(images))
