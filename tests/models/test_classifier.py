from __future__ import annotations

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model, networks
from cifar100.models.classifier import classifier_of, classifier_parameters


@pytest.mark.parametrize("name", networks())
def test_the_classifier_of_a_network_makes_as_many_outputs_as_there_are_classes(name: str) -> None:
    with torch.device("meta"):
        found = classifier_of(build_model(ModelConfig(name=name), 7))
    assert found is not None
    assert isinstance(found[1], nn.Linear)
    assert found[1].out_features == 7


def test_the_last_linear_layer_is_the_classifier() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(dim=1))
    assert classifier_of(network) == ("2", network[2])
    assert classifier_parameters(network) == {"2.weight", "2.bias"}


def test_a_network_may_have_none() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    assert classifier_of(network) is None
    assert classifier_parameters(network) == frozenset()


class Named(nn.Module):
    """A network that says itself what its classifier is, as those of timm do."""

    def __init__(self, *heads: nn.Module) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.projection = nn.Linear(4, 4)

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        return self.heads[0] if len(self.heads) == 1 else tuple(self.heads)


def test_a_network_may_name_its_classifier() -> None:
    network = Named(nn.Linear(4, 2))
    assert classifier_of(network) == ("heads.0", network.heads[0])
    assert classifier_parameters(network) == {"heads.0.weight", "heads.0.bias"}


def test_several_heads_are_all_replaced() -> None:
    expected = {"heads.0.weight", "heads.0.bias", "heads.1.weight", "heads.1.bias"}
    assert classifier_parameters(Named(nn.Linear(4, 2), nn.Linear(4, 2))) == expected
