from __future__ import annotations

import tracemalloc

import pytest
import torch

from cifar100.errors import UserError
from cifar100.models import build_model, networks
from cifar100.process.processors import usable_processors
from cifar100.settings import load_config
from cifar100.training.preflight import resources
from cifar100.training.preflight.resources import (
    check_memory,
    check_processes,
    check_workers,
)


def test_a_network_beyond_the_memory_is_refused_before_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "device_memory", lambda accelerator: 64 * 10**9)
    wide = load_config("quickstart", overrides={"model.widths": [16_384] * 3})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"--model.name fast_net .* parameters, which need [\d.]+ GB .* has 64.0 GB"):
        check_memory(wide, 100, num_train=100, accelerator="cpu")
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_a_batch_beyond_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "device_memory", lambda accelerator: 16 * 10**9)
    large = load_config("original", overrides={"data.batch_size": 100_000, "model.stem": "cifar"})
    with pytest.raises(UserError, match=r"^--data.batch_size 45000 needs at least [\d.]+ GB .*; use a smaller one"):
        check_memory(large, 100, num_train=45_000, accelerator="cpu")
    check_memory(large, 100, num_train=100, accelerator="cpu")  # the batch is the whole data set


@pytest.mark.parametrize("freeze", ["stages", "backbone"])
def test_frozen_layers_need_neither_gradients_nor_outputs(freeze: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "device_memory", lambda accelerator: 80 * 10**6)
    given = {"data.batch_size": 512, "model.weights": "weights.pt"}
    trained = load_config("baseline", overrides=given)
    with pytest.raises(UserError, match="with their gradients and optimizer state"):
        check_memory(trained, 100, num_train=10_000, accelerator="cpu")
    frozen = load_config("baseline", overrides={**given, "model.freeze": freeze})  # 45 MB of parameters
    check_memory(frozen, 100, num_train=10_000, accelerator="cpu")


@pytest.mark.parametrize("name", networks())
def test_every_network_can_be_counted_without_values(name: str) -> None:
    check_memory(load_config("baseline", overrides={"model.name": name}), 100, num_train=10, accelerator="cpu")


def test_larger_images_need_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "device_memory", lambda accelerator: 16 * 10**9)
    for changes in ({"data.image_size": 256}, {"training.resolutions": [256]}):
        config = load_config("baseline", overrides={"data.batch_size": 512, **changes})
        with pytest.raises(UserError, match="batch_size 512 needs at least"):
            check_memory(config, 100, num_train=10_000, accelerator="cpu")
    check_memory(load_config("baseline", overrides={"data.batch_size": 512}), 100, num_train=10_000, accelerator="cpu")


def test_a_gpu_that_chooses_bfloat16_needs_half_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("baseline", overrides={"data.batch_size": 2048, "training.precision": "auto"})
    with torch.device("meta"):
        network = build_model(config.model, 100)
    weights = 4 * resources._copies(config) * sum(parameter.numel() for parameter in network.parameters())
    outputs = 2 * 2048 * resources._outputs(network, 32)
    monkeypatch.setattr(resources, "device_memory", lambda accelerator: weights + 1.5 * outputs)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    check_memory(config, 100, num_train=10_000, accelerator="cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(UserError, match="batch_size 2048 needs at least"):
        check_memory(config, 100, num_train=10_000, accelerator="cuda")


def test_many_more_processes_than_processors_are_refused() -> None:
    images = {"data.pipeline": "images", "augmentation.flip": "random"}
    check_workers(load_config("original", overrides={**images, "data.num_workers": 0}))
    check_workers(load_config("original", overrides={**images, "data.num_workers": 8}))
    few = load_config("original", overrides={**images, "data.num_workers": 256})
    if usable_processors() < 128:
        with pytest.raises(UserError, match=r"--data.num_workers is 256, but this machine has \d+ processors; use"):
            check_workers(few)
    check_processes(8)
    with pytest.raises(UserError, match=r"--training.devices is 100000, but this machine has"):
        check_processes(100_000)
