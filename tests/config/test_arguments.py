"""Python arguments are checked as those of the command line: one sentence, before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from trained_networks import ColourNetwork, write_run

import cifar100
from cifar100 import commands
from cifar100.errors import UserError
from cifar100.results import evaluate as inner
from cifar100.runs.folder import RunFolder, find_run_folder


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: commands.train("quickstart"), r"config is quickstart, .*; pass load_config\('quickstart'\)\.$"),
        (lambda: commands.train("mine.yaml"), r"config is mine.yaml, .*; pass load_config\(files='mine.yaml'\)\.$"),
        (lambda: commands.train({"data": 1}), r"config is \{data: 1\}, .*; pass load_config\(overrides=\{...\}\)\.$"),
        (lambda: commands.train(Path("mine.yaml")), r"config is .*; pass load_config\(files=...\)\.$"),
        (lambda: commands.find_lr("quickstart"), r"pass load_config\('quickstart'\)"),
        (lambda: commands.train(resume="x", changes="max_epochs=3"), r"changes is max_epochs=3, but it must be a dict"),
        (lambda: commands.train(resume=5), r"a path is expected, not int"),
        (lambda: commands.train(resume=["a"]), r"a path is expected, not list"),
        (lambda: commands.evaluate(None), r"a path is expected, not NoneType"),
        (lambda: commands.evaluate(""), r"'' is not a path"),
        (lambda: commands.load_model("a\0b"), r"is not a path"),
        (lambda: commands.prepare(root=""), r"'' is not a path"),
        (lambda: commands.prepare(root=5), r"a path is expected, not int"),
        (lambda: commands.prepare(source=5), r"a path is expected, not int"),
        (lambda: commands.info(root=None), r"a path is expected, not NoneType"),
        (lambda: commands.predict("x", []), r"images is an empty list; pass at least one image"),
        (lambda: commands.predict("x", "a*.png"), r"a\*\.png matches no file"),
        (lambda: commands.predict("x", "a.png", top=0), r"--top is 0, but it must be a whole number of at least 1"),
        (lambda: commands.report(None), r"runs is null, but it must be a list of run folders or experiment names"),
        (lambda: commands.report(5), r"runs is 5, but it must be a list of run folders or experiment names"),
        (lambda: commands.report([None]), r"runs holds a value of type NoneType, but it must be a list of run folders"),
        (lambda: commands.report([]), r"runs is an empty list; pass at least one run"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return write_run(Path("logs/custom"), ColourNetwork(6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "train"}, r"split is train, but it must be test or validation"),
        ({"split": None}, r"split is null, but it must be test or validation"),
        ({"flip_tta": "no"}, r"flip_tta is no, but it must be True or False"),
    ],
)
def test_evaluate_checks_its_arguments_inside_as_well(arguments: dict[str, Any], message: str, run: RunFolder) -> None:
    with pytest.raises(UserError, match=message):
        commands.evaluate(run, **arguments, network=ColourNetwork)
    with pytest.raises(UserError, match=message):
        inner.evaluate(run, **{"split": "test", "checkpoint": "best", **arguments}, network=ColourNetwork)
    assert not list(run.path.glob("evaluation_*"))


@pytest.mark.parametrize("top", [0, -1, "5", 2.0, True, None])
def test_top_is_a_positive_number(top: Any, run: RunFolder) -> None:
    Image.new("RGB", (32, 32)).save("image.png")
    with pytest.raises(UserError, match=r"--top is .*, but it must be a whole number of at least 1"):
        commands.predict(run, "image.png", top=top, network=ColourNetwork)


def test_a_run_folder_is_taken_wherever_a_run_is(run: RunFolder) -> None:
    for given in (run, run.path, str(run.path), "custom", Path("custom"), run.path.absolute()):
        assert find_run_folder(given).path.resolve() == run.path.resolve()
        assert cifar100.load_model(given, network=ColourNetwork).info.num_classes > 1


def test_paths_begin_in_the_home_folder(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (32, 32)).save("image.png")
    (checkpoint,) = run.checkpoints.glob("best.ckpt")
    short = "~" / checkpoint
    for given in (short, str(short)):
        (found,) = commands.predict("~/logs/custom", "~/image.png", checkpoint=given, network=ColourNetwork)
        assert found.image == str(tmp_path / "image.png")


def test_a_network_that_does_not_fit_is_named_itself(run: RunFolder) -> None:
    class Other(torch.nn.Linear):
        pass

    with pytest.raises(UserError, match=r"has another architecture than network=Other, as given"):
        commands.load_model(run, network=Other(1, 1))
    with pytest.raises(UserError, match=r"network is .*, but it must be a torch.nn.Module, or a function"):
        commands.load_model(run, network=lambda number: number)
    with pytest.raises(UserError, match=r"network is resnet18, but it must be a torch.nn.Module"):
        commands.load_model(run, network="resnet18")
