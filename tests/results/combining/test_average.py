"""Averages of weights: the mean, measured statistics, an ordinary run folder, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from similar_runs import make_data, write_member
from small_runs import small_config

from cifar100 import average, compare, evaluate, export, list_runs, load_model, report, train
from cifar100.cli.main import run_command_line
from cifar100.data.dataset_info import write_info
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.results.evaluation_data import images_of
from cifar100.results.export.card import facts_of, model_card
from cifar100.runs.checkpoints import read_checkpoint, write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_complete_config


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run.checkpoints / "best.ckpt")["state_dict"]
    return state


def test_the_weights_are_the_mean_and_the_statistics_those_of_training_images() -> None:
    info = make_data()
    members = [write_member(name, info, step=step) for name, step in (("a", 0.01), ("b", 0.02), ("c", 0.03))]
    found = average(["a", "b", "c"], experiment="soup")
    states, ours = [weights(run) for run in members], weights(found.run)
    statistics = {name for name in ours if "running" in name}
    assert statistics
    for name, value in ours.items():
        if value.is_floating_point() and name not in statistics:
            assert torch.allclose(value, torch.stack([state[name] for state in states]).mean(0), atol=1e-6), name
    network = load_trained(found.run, "best", device=torch.device("cpu"))
    images, _ = DataFolder(Path("data")).load("train")
    seen: list[torch.Tensor] = []
    layer = next(module for module in network.network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.logits(torch.from_numpy(images[:40]))  # the training images are the first 40
    assert torch.allclose(layer.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5)  # type: ignore[arg-type]


def test_only_the_images_of_the_statistics_are_copied_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = []

    def watched(*arguments: Any, **options: Any) -> Any:
        found = images_of(*arguments, **options)
        numbers.append(len(found[0]))
        return found

    module = "cifar100.results.combining.average"
    monkeypatch.setattr(f"{module}.images_of", watched)
    monkeypatch.setattr(f"{module}.NUM_IMAGES", 16)
    info = make_data()
    write_member("a", info, step=0.01)
    write_member("b", info, step=0.02)
    average(["a", "b"], experiment="soup")
    assert numbers == [16]


def test_a_module_from_python_keeps_the_average_while_the_members_are_measured() -> None:
    info = make_data()
    members = [write_member(name, info, step=step) for name, step in (("a", 0.01), ("b", 0.02))]
    module = build_model(load_complete_config(members[0].config).model, 5)
    ours = weights(average(["a", "b"], experiment="soup", network=module).run)
    first, second = map(weights, members)
    for name, value in ours.items():
        if value.is_floating_point() and "running" not in name:
            assert torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6), name


def test_the_result_is_a_run_like_any_other_and_says_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    info = make_data()
    write_member("a", info, step=0.01)
    write_member("b", info, step=0.02)
    run_command_line(["average", "a", "b", "--experiment", "soup"])
    shown = capsys.readouterr().out
    assert f"{Path('logs/soup')}: the mean of the weights of 2 networks" in shown
    assert re.search(r"accuracy on 20 validation images: \d+\.\d\d% \(95 % interval \d+\.\d\d% to \d+\.\d\d%\)", shown)
    assert "evaluate soup\n" in shown
    assert "The average against each member, on the same images:" in shown
    soup = RunFolder(Path("logs/soup"))
    assert soup.config.read_text().startswith("# An average of the weights of a, b. The settings are those of a.")
    assert load_complete_config(soup.config) == load_complete_config(Path("logs/a/config.yaml"))
    assert load_model("soup")(np.zeros((2, 3, 32, 32), dtype=np.uint8)).shape == (2, 5)
    assert evaluate("soup").combined == "average of 2: a, b"
    evaluate("a")
    assert compare(["a", "soup"]).differing_settings == {"average of": {"A": None, "B": "a, b"}}
    summary = next(each for each in list_runs() if each.name == "soup")
    assert (summary.combined, summary.status) == ("average of 2", "finished")
    assert summary.best is not None
    page = report("soup").read_text()
    assert "Report of an average of 2 runs" in page
    assert "cifar100 average a b --experiment NAME" in page
    exported = export("soup", format="safetensors")
    assert exported.path.is_file()
    card = model_card(facts_of(load_trained(soup, "best"), soup, precision="float32"))
    assert "of run soup, an average of 2 (a, b), epoch 5" in card
    with pytest.raises(UserError, match=r"logs.soup is an average of 2 \(a, b\) and has no training to resume"):
        train(resume="soup")


def test_two_checkpoints_of_one_run_are_averaged() -> None:
    info = make_data()
    run = write_member("a", info, step=0.01)
    other = write_member("b", info, step=0.02)
    write_checkpoint({"state_dict": weights(other), "epoch": 8}, run.checkpoints / "last.ckpt")
    found = average([run.checkpoints / "best.ckpt", run.checkpoints / "last.ckpt"], experiment="swa")
    assert [(member.name, member.checkpoint, member.epoch) for member in found.members] == [
        ("a", "best.ckpt", 5),
        ("a", "last.ckpt", 9),
    ]
    assert [pair.reference for pair in found.against_members] == ["a (best.ckpt)", "a (last.ckpt)"]
    assert found.evaluation is not None
    assert found.evaluation.epoch == 9
    files = "logs/a/lightning_checkpoints/last.ckpt"
    assert f"cifar100 average a {files} --experiment NAME" in report("swa").read_text()
    name = "network.head.weight" if "network.head.weight" in weights(run) else next(iter(weights(run)))
    assert torch.allclose(weights(found.run)[name], (weights(run)[name] + weights(other)[name]) / 2, atol=1e-6)


def test_a_useless_average_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    info = make_data()
    write_member("a", info, step=0.01)
    write_member("b", info, step=0.02)
    module = "cifar100.results.combining.average"
    monkeypatch.setattr(f"{module}._accuracies", lambda evaluations: [0.9, 0.95])
    average(["a", "b"], experiment="soup")
    said = capsys.readouterr().err
    assert "less than each member (90.00% to 95.00%): their weights are too far apart. Use their ensemble" in said
    files = [Path("logs/a/lightning_checkpoints") / name for name in ("best.ckpt", "last.ckpt")]
    write_checkpoint({**read_checkpoint(files[0]), "epoch": 8}, files[1])
    average(files, experiment="swa")  # an ensemble takes each run once
    assert "their weights are too far apart. Use one of them instead." in capsys.readouterr().err


def test_fine_tuned_runs_are_averaged_with_each_other_and_with_their_start(tiny_data: Path) -> None:
    def tuned(name: str, **changes: Any) -> RunFolder:
        return train(small_config(tiny_data, **{"training.max_epochs": 1, **changes}), experiment=name)

    base = tuned("base")
    start = {"model.weights": base.checkpoints / "best.ckpt", "training.seed": 1}
    tuned("one", **start)
    tuned("two", **{**start, "training.seed": 2, "model.freeze": "backbone"})
    soup = average(["one", "two"], experiment="soup").run
    assert soup.initial_weights.read_bytes() == RunFolder(Path("logs/one")).initial_weights.read_bytes()
    average(["soup", "base"], experiment="again")


def test_runs_that_do_not_fit_together_are_refused_in_one_line() -> None:
    info = make_data()
    write_member("a", info)
    write_member("wide", info, model__widths=[8, 8, 16])
    with pytest.raises(UserError, match=r"different architectures \(fast_net with different settings\)"):
        average(["a", "wide"])
    other = write_member("data", info, step=0.1)
    write_info(replace(info, sha256={**info.sha256, "train": "0" * 64}), other.dataset_info)
    with pytest.raises(
        UserError, match=r"a and data were trained on data with different training images or labels \(.*; .*\)"
    ):
        average(["a", "data"])
    write_member("split", info, step=0.1, validation=range(20))
    with pytest.raises(UserError, match="a and split have different validation images"):
        average(["a", "split"])
    other = write_member("classes", info, step=0.1)
    write_info(replace(info, class_names=("zebra", *info.class_names[1:])), other.dataset_info)
    with pytest.raises(UserError, match="a and classes were trained on different classes"):
        average(["a", "classes"])
    write_member("normalised", info, step=0.1, data__mean=[0.5, 0.5, 0.5], data__std=[0.2, 0.2, 0.2])
    with pytest.raises(UserError, match="a and normalised normalise images differently"):
        average(["a", "normalised"])
    write_member("larger", info, step=0.1, data__image_size=40)
    with pytest.raises(UserError, match=r"a and larger scale images to different sizes \(32 and 40 pixels\)"):
        average(["a", "larger"])
    with pytest.raises(UserError, match="found no run"):
        average([f"{Path.cwd().anchor}x.ckpt", "a"])
    with pytest.raises(UserError, match="only a is given, but an average needs at least two runs"):
        average(["a"])
    assert sorted(path.name for path in Path("logs").iterdir()) == [
        "a",
        "classes",
        "data",
        "larger",
        "normalised",
        "split",
        "wide",
    ]


def test_without_validation_images_a_line_says_that_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    info = make_data()
    write_member("a", info, step=0.01, validation=range(0))
    write_member("b", info, step=0.02, validation=range(0))
    assert average(["a", "b"], experiment="soup").evaluation is None
    assert "no validation images, so it is not known yet whether the average is better" in capsys.readouterr().err
