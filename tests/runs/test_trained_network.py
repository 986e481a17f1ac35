"""A network from a run folder: its weights, its mode, its probabilities, and a custom network in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from trained_networks import INFO, ColourNetwork, stub, write_run

from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.runs import trained_network
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (7, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_network_of_the_configuration_gets_the_weights(tmp_path: Path, images: Tensor) -> None:
    original = build_model(load_config("quickstart").model, 6)
    run = write_run(tmp_path / "run", original)
    trained = load_trained(run, "best", device=torch.device("cpu"))
    assert not trained.network.training
    assert (trained.epoch, trained.averaged, trained.info) == (5, False, INFO)
    assert trained.checkpoint == run.checkpoints / "best.ckpt"
    with torch.inference_mode():
        expected = original.eval()(images / 255)
    assert torch.allclose(trained.logits(images), expected, atol=1e-4)


def test_a_call_returns_probabilities_in_limited_batches(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_network, "BATCH_SIZE", 3)
    network = ColourNetwork(6)
    probabilities = stub(network)(images)
    assert (probabilities.shape, probabilities.dtype) == ((7, 6), torch.float32)
    assert network.batch_sizes == [3, 3, 1]
    expected = network.head((images / 255).mean(dim=(2, 3))).softmax(dim=1)
    assert torch.allclose(probabilities, expected, atol=1e-6)
    assert stub(network)(images[:0]).shape == (0, 6)


def test_tensors_are_not_taken_for_other_images(images: Tensor) -> None:
    """Every kind of image is tested in tests/data/test_given_images.py and tests/test_commands.py."""
    with pytest.raises(UserError, match=r"images is float32 \(7, 3, 32, 32\), expected pixels in 0..255, uint8"):
        stub(ColourNetwork(6))(images / 255)
    trained = stub(ColourNetwork(6))
    assert torch.equal(trained(images.permute(0, 2, 3, 1)), trained(images))
    assert torch.equal(trained(images[0]), trained(images[:1]))


def test_probabilities_that_are_not_finite_are_refused(images: Tensor) -> None:
    network = ColourNetwork(6)
    torch.nn.init.constant_(network.head.weight, 3e38)  # finite itself
    for given in (images, images.numpy()):
        with pytest.raises(UserError, match=r"best.ckpt returns probabilities that are not finite; use other weights"):
            stub(network)(given)


def test_a_custom_network_replaces_that_of_the_configuration(tmp_path: Path, images: Tensor) -> None:
    original = ColourNetwork(6)
    run = write_run(tmp_path / "run", original)
    with pytest.raises(UserError, match="has another architecture"):
        load_trained(run, "best")
    module = ColourNetwork(6)
    for network in (ColourNetwork, module):
        trained = load_trained(run, "best", network=network)
        assert torch.allclose(trained(images), stub(original)(images), atol=1e-6)
    assert trained.network is module


def test_normalization_of_the_configuration_goes_before_that_of_the_data() -> None:
    config = load_config("quickstart", overrides={"data.mean": [0.1, 0.2, 0.3], "data.std": [0.4, 0.5, 0.6]})
    assert stub(ColourNetwork(6)).normalization == (INFO.mean, INFO.std)
    assert stub(ColourNetwork(6), config=config).normalization == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_features_are_the_input_of_the_last_linear_layer(images: Tensor) -> None:
    network = ColourNetwork(6)
    trained = stub(network)
    logits, features = trained.logits_and_features(images)
    torch.testing.assert_close(features, (images / 255).mean(dim=(2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(network.head(features), logits)
    assert torch.equal(trained.features(images), features)
    assert not network.head._forward_pre_hooks


def test_a_network_without_a_vector_for_each_image_has_no_features(images: Tensor) -> None:
    for network in (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity()), torch.nn.Linear(32, 4)):
        with pytest.raises(UserError, match=r"has no features: they are the input of its last linear layer"):
            stub(network).features(images)
