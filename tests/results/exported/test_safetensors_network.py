"""Exported weights are read back: by `load_model`, and as the start of another run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable_runs import write_exportable
from photographs import photographs
from safetensors.torch import load_file, save_file
from small_runs import small_config
from torch import nn

from cifar100 import commands
from cifar100.config import ModelConfig
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.results.export import check
from cifar100.results.exported import safetensors_network
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.training.finetuning.initial_weights import load_initial_weights, with_native_input

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = {"data.mean": [0.4, 0.5, 0.6], "data.std": [0.2, 0.25, 0.3], "data.image_size": 40}
    found = write_exportable(tmp_path_factory.mktemp("runs") / "tiny", tiny_data, **settings)
    commands.evaluate(found, calibrate=True)
    return found


@pytest.fixture(scope="module")
def weights(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `publish` writes too."""
    path = tmp_path_factory.mktemp("exported") / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "SECONDS", 0.0)
        commands.export(run, format="safetensors", output=path, calibrated=True)
    return path


def changed(weights: Path, path: Path, change: Callable[[Facts], Facts], *, tensors: Any = None) -> Path:
    """Write the file again with other facts."""
    content = weights.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    facts = change(json.loads(header["__metadata__"]["cifar100"]))
    save_file(load_file(weights) if tensors is None else tensors, path, metadata={"cifar100": json.dumps(facts)})
    return path


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message) as raised:
        commands.load_model(path, **options)
    assert "\n" not in str(raised.value)


def test_load_model_gives_the_probabilities_of_the_calibrated_run(run: RunFolder, weights: Path) -> None:
    found, expected = commands.load_model(weights), commands.load_model(run, calibrated=True)
    assert isinstance(found, TrainedNetwork)
    assert isinstance(expected, TrainedNetwork)
    assert (found.info, found.temperature, found.epoch) == (expected.info, expected.temperature, 5)
    images = photographs(3, seed=5)
    np.testing.assert_allclose(found(images), expected(images), atol=1e-6)
    (one,), (other,) = commands.predict(weights, [images[0]]), commands.predict(run, [images[0]], calibrated=True)
    assert [each.name for each in one.classes] == [each.name for each in other.classes]


def test_a_run_starts_from_the_file_with_its_normalisation(
    run: RunFolder, weights: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_native_input(small_config(tiny_data, **{"model.weights": weights, "training.max_epochs": 1}))
    assert (config.data.mean, config.data.image_size) == ((0.4, 0.5, 0.6), 40)
    network = build_model(config.model, 100)
    origin = load_initial_weights(network, config.model, 100)
    assert origin is not None
    assert (origin.new, origin.by_position) == ((), False)
    for name, value in commands.load_model(run).network.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(network.state_dict()[name], value.cpu()), name
    tuned = commands.train(config, experiment="tuned")
    assert json.loads(tuned.initial_weights.read_text())["source"] == weights.as_posix()


def test_a_custom_network_is_given(weights: Path, tmp_path: Path) -> None:
    path = changed(weights, tmp_path / "x.safetensors", lambda facts: facts | {"network": "PatchNet"})
    refused(path, r"holds the weights of a custom network, 'PatchNet'; load it from Python: load_model\(.*network=")
    config = ModelConfig(name="fast_net", widths=[8, 8, 8])
    network = commands.load_model(path, network=lambda num_classes: build_model(config, num_classes))
    np.testing.assert_array_equal(network(photographs(1, seed=5)), commands.load_model(weights)(photographs(1, seed=5)))
    refused(path, r"another architecture than network=Linear, as given", network=lambda num: nn.Linear(1, num))


def test_options_that_need_a_run_are_refused(weights: Path) -> None:
    refused(weights, "--calibrated needs a run, but .* is an exported file", calibrated=True)
    refused(weights, "--checkpoint needs a run", checkpoint="last")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: {}, "cannot be used"),
        (lambda facts: facts | {"model_settings": {"widths": [8, 8, 4]}}, "another architecture than the network"),
        (lambda facts: facts | {"model_settings": {"widths": [1024] * 3}}, "it is smaller than the weights of fast"),
        (lambda facts: facts | {"model_settings": {"widths": [-1]}}, "cannot be used .*model.widths"),
        (lambda facts: facts | {"image_size": 17}, "cannot be used .*data.image_size"),
        (lambda facts: facts | {"image_size": 10**6}, "it.image_size is 1000000, expected a whole number"),
        (lambda facts: facts | {"network": "timm/resnet18", "model_settings": {"arguments": ["checkpoint_path=/x.pt"]}},
         "has the argument 'checkpoint_path=/x.pt', which is no number"),
        (lambda facts: facts | {"network": "timm/resnet18", "model_settings": {"arguments": 5}},
         "has the arguments 5, which are no list"),
        (lambda facts: facts | {"temperature": 0}, "it.temperature is 0, expected a number from 0.01 to 100"),
        (lambda facts: facts | {"info": facts["info"] | {"image_size": 10**6}}, "it.image_size is 1000000, expected a"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_line(change: Any, message: str, weights: Path, tmp_path: Path) -> None:
    refused(changed(weights, tmp_path / "x.safetensors", change), message)


def test_a_network_that_cannot_be_built_is_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of timm with arguments that do not fit together, which raise almost anything."""
    path = changed(weights, tmp_path / "x.safetensors", lambda facts: facts)
    monkeypatch.setattr(safetensors_network, "make_network", lambda *_: torch.zeros(1).reshape(2))
    refused(path, r"x.safetensors cannot be used \(.*\); export the run that it comes from")


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, (10).to_bytes(8, "little") + b"[" * 10])
def test_what_is_no_safetensors_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors", r"x.safetensors cannot be used \(.*\); export the run that it comes from")


def test_weights_of_another_program_say_so(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "its metadata have no entry 'cifar100', which names the network")
