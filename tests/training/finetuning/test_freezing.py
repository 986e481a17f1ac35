"""What is frozen, and what that means in training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from small_runs import small_config
from torch import nn

from cifar100 import commands
from cifar100.config import ModelConfig
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.training.finetuning.freezing import freeze


def trained_parameters(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_a_frozen_backbone_leaves_the_classifier() -> None:
    network = build_model(ModelConfig(name="resnet18"), 10)
    frozen = freeze(network, "backbone")
    assert trained_parameters(network) == {"fc.weight", "fc.bias"}
    assert frozen == [network.conv1, network.bn1, network.layer1, network.layer2, network.layer3, network.layer4]


def test_frozen_stages_are_the_earlier_half() -> None:
    network = build_model(ModelConfig(name="resnet18"), 10)
    frozen = freeze(network, "stages")
    assert {name.partition(".")[0] for name in trained_parameters(network)} == {"layer3", "layer4", "fc"}
    assert frozen == [network.conv1, network.bn1, network.layer1, network.layer2]


def test_nothing_is_frozen_unless_asked_for() -> None:
    network = build_model(ModelConfig(name="resnet18"), 10)
    assert freeze(network, "none") == []
    assert trained_parameters(network) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("what", "network"), [("backbone", nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())), ("stages", nn.Linear(4, 2))]
)
def test_a_network_without_the_part_is_refused(what: str, network: nn.Module) -> None:
    with pytest.raises(UserError, match=f"--model.freeze {what}"):
        freeze(network, what)  # type: ignore[arg-type]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of the small runs' network, for other classes."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    network = build_model(ModelConfig(name="fast_net", widths=(8, 8, 8)), 7)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("what", ["backbone", "stages"])
def test_training_changes_neither_frozen_weights_nor_their_statistics(
    what: str, weights: Path, tiny_data: Path
) -> None:
    changes = {"model.weights": weights, "model.freeze": what, "training.max_epochs": 1}
    run = commands.train(small_config(tiny_data, **changes), experiment="a")
    before = torch.load(weights)
    after = read_checkpoint(RunFolder(run.path).checkpoints / "last.ckpt")["state_dict"]
    network = build_model(ModelConfig(name="fast_net", widths=(8, 8, 8)), 7)
    freeze(network, what)  # type: ignore[arg-type]
    trained = trained_parameters(network)
    owners = {name.rpartition(".")[0] for name in trained}
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"network.{name}"])}
    assert changed >= trained
    assert {name.rpartition(".")[0] for name in changed} == owners
    if what == "stages":
        assert any("running_mean" in name for name in changed)
    log = run.training_log.read_text()
    assert f"frozen   {what}; " in log


def test_frozen_layers_stay_in_evaluation_mode() -> None:
    from cifar100.training.lit_module import ImageClassifier

    config = small_config(Path("data"))
    network = build_model(config.model, 10)
    module = ImageClassifier(config, 10, network=copy.deepcopy(network))
    assert all(layer.training for layer in module.network.modules())
    module.frozen = freeze(module.network, "backbone")
    module.train()
    still = [layer for layer in module.network.modules() if layer.training]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in still)
    module.eval()
    module.train()
    assert [layer for layer in module.network.modules() if layer.training] == still
