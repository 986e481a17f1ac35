"""The commands as Python functions; whole runs are tested in tests/test_end_to_end.py."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trained_networks import ColourNetwork, stub, write_run

import cifar100
from cifar100 import commands
from cifar100.cli.main import build_parser
from cifar100.commands.loading import loading
from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder


@pytest.fixture
def network() -> ColourNetwork:
    torch.manual_seed(0)
    return ColourNetwork(6)


@pytest.fixture
def run(tmp_path: Path, network: ColourNetwork, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """`logs/custom`, a run of a network that config.yaml does not name."""
    monkeypatch.chdir(tmp_path)
    return write_run(Path("logs/custom"), network)


def test_load_model_returns_a_callable_from_images_to_probabilities(run: RunFolder, network: ColourNetwork) -> None:
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    for given in ("custom", run.path, str(run.path)):
        model = cifar100.load_model(given, network=ColourNetwork)
        probabilities = model(images)
        assert (probabilities.shape, probabilities.dtype, probabilities.device.type) == ((5, 6), torch.float32, "cpu")
        assert torch.allclose(probabilities.sum(dim=1), torch.ones(5))
        assert torch.allclose(probabilities, stub(network)(images), atol=1e-6)
    with pytest.raises(UserError, match="no checkpoint"):
        cifar100.load_model("custom", checkpoint="other.ckpt", network=ColourNetwork)


def test_a_model_is_called_with_images_of_any_kind(run: RunFolder) -> None:
    """What the docstring of `load_model` promises; the pixels are tested in tests/data/test_given_images.py."""
    model = cifar100.load_model(run, network=ColourNetwork)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    expected = model(pixels)
    assert isinstance(expected, np.ndarray)
    assert (expected.shape, expected.dtype) == ((300, 6), np.float32)
    first = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    for tensor in (first, torch.from_numpy(pixels)):
        found = model(tensor)
        assert isinstance(found, torch.Tensor)
        assert np.allclose(found.numpy(), expected, atol=1e-6)
    Image.fromarray(pixels[0]).save("image.png")
    content = Path("image.png").read_bytes()
    for single in ("image.png", Path("image.png"), content, Image.fromarray(pixels[0]), pixels[0], first[0]):
        assert np.allclose(np.asarray(model(single)), expected[:1], atol=1e-6)
        assert np.allclose(np.asarray(model([single, pixels[1]])), expected[:2], atol=1e-6)
    assert np.allclose(model(iter(pixels)), expected, atol=1e-6)
    assert model([]).shape == (0, 6)
    with pytest.raises(UserError, match=r"^images\[1\] is a value of type int, expected paths"):
        model([pixels[0], 1])


def test_threads_may_call_a_model_at_the_same_time(run: RunFolder) -> None:
    model = cifar100.load_model(run, network=ColourNetwork)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 40, 32, 32, 3), dtype=np.uint8)
    expected = [model(images) for images in pixels]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(model, np.concatenate([pixels] * 5)), expected * 5, strict=True):
            assert np.allclose(found, alone, atol=1e-6)


def test_predictions_come_as_a_stream_or_as_a_list(run: RunFolder) -> None:
    Path("images").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (number * 80, 9, 9)).save(f"images/{number}.png")
    stream = cifar100.predict_stream(run, "images", network=ColourNetwork, top=2)
    assert stream.total == 3
    assert list(stream) == cifar100.predict(run, ["images"], network=ColourNetwork, top=2)
    Path("images/1.png").write_text("no image")
    with pytest.raises(UserError, match=r"1\.png is damaged"):
        cifar100.predict(run, "images", network=ColourNetwork)
    found = cifar100.predict(run, "images", network=ColourNetwork, errors="keep")
    assert [prediction.error is None for prediction in found] == [True, False, True]
    (found,) = cifar100.predict(run, np.zeros((32, 32, 3), np.uint8), network=ColourNetwork)
    assert found.image == "images[0]"


def test_predict_takes_a_custom_network_and_returns_a_list(run: RunFolder, network: ColourNetwork) -> None:
    Image.fromarray(np.full((40, 32, 3), 90, dtype=np.uint8)).save("image.png")
    (prediction,) = commands.predict("custom", ["image.png"], top=1, network=ColourNetwork)
    probabilities = stub(network)(torch.full((1, 3, 32, 32), 90, dtype=torch.uint8))[0]
    assert prediction.image == "image.png"
    assert prediction.classes[0].name == "abcdef"[int(probabilities.argmax())]
    assert prediction.classes[0].probability == pytest.approx(probabilities.max().item())


def test_evaluate_takes_a_custom_network(run: RunFolder) -> None:
    with pytest.raises(
        UserError, match="does not exist; the run was trained on"
    ):  # found after the weights were loaded
        commands.evaluate("custom", network=ColourNetwork)
    with pytest.raises(UserError, match="has another architecture"):
        commands.evaluate("custom")


def test_resume_refuses_a_configuration_and_a_name() -> None:
    for given in ({"config": Config()}, {"experiment": "x"}):
        with pytest.raises(UserError, match="--resume continues in the run's own folder"):
            commands.train(resume="x", **given)  # type: ignore[arg-type]


def test_lists_are_those_of_recipes_and_runs(run: RunFolder) -> None:
    assert [summary.name for summary in commands.list_runs()] == ["custom"]
    assert {"name", "purpose", "time", "accuracy"} <= commands.list_recipes()[0].keys()
    assert commands.list_recipes()[0]["name"] == "original"


def test_loading_is_announced_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with loading():
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    with loading():
        assert capsys.readouterr().err == "loading PyTorch ..."
    assert capsys.readouterr().err.startswith("\r")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "quickstart"}, "config is quickstart, but it must be a Config"),
        ({"network": 3}, "network is 3, but it must be a module or a function"),
        ({"loggers": ["csv"]}, r"loggers is \[csv\], but it must be a list of Lightning's Logger objects"),
        ({"callbacks": "none"}, "callbacks is none, but it must be a list of Lightning's Callback objects"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        commands.train(**arguments)
    assert not (tmp_path / "logs").exists()


def test_help_and_docstrings_name_everything_that_a_network_is_loaded_from() -> None:
    """Those that are accepted are used in tests/results/publishing and tests/results/exported."""
    accepted = {".onnx", "`publish`", "hf:USER/NAME"}
    for name in ("predict", "evaluate", "demo"):
        text = build_parser(name).format_help()
        assert {each for each in accepted if each in text} == accepted, name
    for function in (commands.load_model, commands.evaluate, commands.demo):
        text = function.__doc__ or ""
        assert {each for each in accepted if each in text} == accepted, function.__name__
    assert ".safetensors" in build_parser("predict").format_help()
    assert ".safetensors" in (commands.load_model.__doc__ or "")
