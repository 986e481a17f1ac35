"""The commands as Python functions; whole runs are tested in tests/test_end_to_end.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trained_networks import ColourNetwork, stub, write_run

import cifar100
from cifar100 import commands
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


def test_predict_takes_a_custom_network_and_returns_a_list(run: RunFolder, network: ColourNetwork) -> None:
    Image.fromarray(np.full((40, 32, 3), 90, dtype=np.uint8)).save("image.png")
    (prediction,) = commands.predict("custom", ["image.png"], top=1, network=ColourNetwork)
    probabilities = stub(network)(torch.full((1, 3, 32, 32), 90, dtype=torch.uint8))[0]
    assert prediction.image == "image.png"
    assert prediction.classes[0].name == "abcdef"[int(probabilities.argmax())]
    assert prediction.classes[0].probability == pytest.approx(probabilities.max().item())


def test_evaluate_takes_a_custom_network(run: RunFolder) -> None:
    with pytest.raises(UserError, match="holds no prepared data"):  # found after the weights were loaded
        commands.evaluate("custom", network=ColourNetwork)
    with pytest.raises(UserError, match="is of another architecture"):
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
