"""The facts that `cifar100 models` shows; test_models.py compares their sizes with the networks."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature

import pytest

from cifar100.models import network, networks
from cifar100.models.facts import ModelFacts, model_facts, throughput

PUBLISHED_ERRORS = {
    # Test errors in percent on CIFAR-100 with standard augmentation, as they are printed in the papers
    "densenet_bc_100_12": 22.27,
    "preact_resnet18": 25.6,
    "pyramidnet110_270": 18.25,
    "pyramidnet272_200": 16.35,
    "resnet18": 22.46,
    "resnext29_8x64d": 17.77,
    "wide_resnet28_10": 19.25,
    # with RandAugment, mixup and CutMix
    "cct_7_3x1": 100 - 80.92,
}


def test_every_network_is_listed_once() -> None:
    assert [facts.name for facts in model_facts()] == list(networks())


def test_published_accuracies_have_a_source() -> None:
    errors = {facts.name: 100 * (1 - facts.accuracy) for facts in model_facts() if facts.accuracy is not None}
    assert errors == pytest.approx(PUBLISHED_ERRORS)
    assert all((facts.accuracy is None) == (facts.accuracy_source == "") for facts in model_facts())


def test_speeds_are_of_networks_that_exist_and_name_their_hardware() -> None:
    speeds = throughput()["images_per_second"]
    assert speeds.keys() <= networks().keys()
    for facts in model_facts():
        assert facts.images_per_second == speeds.get(facts.name)
        assert (facts.measured_on == "") == (facts.images_per_second is None)


def test_the_decorator_takes_the_facts_that_are_shown() -> None:
    stated = set(signature(network).parameters) - {"names"}
    assert stated == {field.name for field in fields(ModelFacts)} - {
        *("name", "images_per_second", "measured_on"),
        *("image_side", "is_pretrained"),  # of networks of timm
    }
