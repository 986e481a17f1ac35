"""`train()` with what a Python caller brings along: network, loss, data module, callbacks, loggers."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from small_runs import assert_same_run, epochs, small_config, state, stop_at, without
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from cifar100 import commands
from cifar100.cli.main import run_command_line
from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.runs.folder import read_parts


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tiny_data: Path) -> Config:
    return small_config(tiny_data, **{"training.max_epochs": 2, "optimization.learning_rate": 0.01})


class DropoutNet(nn.Module):
    """A custom network with a random operation, of which a resumed run must restore the random state."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.3), nn.Flatten(), nn.Linear(3072, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def build_network() -> nn.Module:
    torch.manual_seed(3)
    return DropoutNet(100)


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits - F.one_hot(labels, 100)).square().mean()


class Random(L.LightningDataModule):
    """Images of three classes, which differ in their brightness."""

    num_classes = 3
    class_names = ("dark", "grey", "bright")

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(90, seed=0)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(30, seed=1)

    def _loader(self, count: int, *, seed: int) -> DataLoader[Any]:
        labels = torch.arange(count) % 3
        noise = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        data = TensorDataset(noise + labels[:, None, None, None], labels)
        return DataLoader(data, batch_size=10, shuffle=seed == 0)


@pytest.mark.parametrize("network", [build_network, None])
def test_a_network_or_a_function_is_trained(network: Any, config: Config) -> None:
    run = commands.train(without(config, "model"), network=DropoutNet if network is None else network())
    weight = state(run)["state_dict"]["network.layers.2.weight"]
    assert weight.shape == (100, 3072)
    if network is not None:
        assert not torch.equal(weight, network().state_dict()["layers.2.weight"])
    assert read_parts(run)["network"].endswith("DropoutNet")
    assert "DropoutNet, 307,300 parameters" in run.training_log.read_text()
    losses = [epoch["train/loss"] for epoch in epochs(run)]
    assert losses[1] < losses[0]


def test_the_next_steps_after_a_custom_network_work(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 32)).save("IMAGE", "png")
    commands.train(without(config, "model"), network=DropoutNet)
    _, _, following = capsys.readouterr().out.partition("Next, in Python, with the same network:\n")
    calls, _, lines = following.partition("\n\nNext:\n")
    names = {"evaluate": commands.evaluate, "predict": commands.predict, "network": DropoutNet}
    assert [bool(eval(call.strip(), names)) for call in calls.splitlines()] == [True, True]
    report, _ = (shlex.split(line) for line in lines.splitlines())  # TensorBoard is the second
    run_command_line(report[1:])
    assert Path("logs/experiment1/report.html").is_file()


def test_a_custom_network_with_a_custom_loss_resumes_exactly(config: Config) -> None:
    parts, config = {"loss": squared_error}, without(config, "model")
    whole = commands.train(config, experiment="whole", network=build_network(), **parts)
    for step in (7, 20):
        broken = stop_at(step, config, name=f"broken{step}", network=build_network(), **parts)
        assert state(broken)["global_step"] == step
        assert_same_run(whole, commands.train(resume=broken.name, network=build_network(), **parts))
    assert "squared_error" in whole.training_log.read_text()


def test_a_network_with_unused_parameters_and_an_infinite_mask_resumes(config: Config) -> None:
    def network() -> nn.Module:
        built = build_network()
        built.unused = nn.Linear(2, 2)
        built.frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)
        built.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        return built

    broken = stop_at(7, without(config, "model"), name="broken", network=network())
    commands.train(resume=broken.name, network=network())


def test_a_custom_loss_is_minimized(config: Config) -> None:
    run = commands.train(config, loss=squared_error)
    assert epochs(run)[0]["train/loss"] < 0.5  # a cross-entropy would begin at 4.6
    assert epochs(run)[1]["train/loss"] < epochs(run)[0]["train/loss"]
    assert epochs(run)[0]["val/loss"] > 3  # the metric stays the cross-entropy


def test_a_custom_data_module_is_trained_and_resumes_exactly(config: Config) -> None:
    config = without(config, "data")
    whole = commands.train(config, experiment="whole", datamodule=Random())
    assert state(whole)["state_dict"]["network.head.weight"].shape == (3, 8)
    assert epochs(whole)[-1]["train/loss"] < epochs(whole)[0]["train/loss"]
    info = json.loads(whole.dataset_info.read_text())
    assert info["class_names"] == ["dark", "grey", "bright"]
    assert not whole.split.exists()
    run_command_line(["report", "whole"])  # its next step
    assert "Its images come from a custom data module" in whole.report.read_text()
    broken = stop_at(9, config, name="broken", datamodule=Random())  # the end of the first epoch
    assert_same_run(whole, commands.train(resume=broken.name, datamodule=Random()))


@pytest.mark.parametrize("num_classes", [None, 1, "many"])
def test_a_data_module_without_classes_gets_one_line(num_classes: Any, config: Config) -> None:
    data = Random()
    data.num_classes = num_classes
    with pytest.raises(UserError, match=r"^the data module Random has num_classes .*; set this attribute") as caught:
        commands.train(config, datamodule=data)
    assert "\n" not in str(caught.value)
    assert not Path("logs").exists()


def test_custom_callbacks_see_the_run(config: Config) -> None:
    class Counter(Callback):
        steps = 0
        validations: list[float]

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1

        def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
            self.validations = [*getattr(self, "validations", []), float(trainer.callback_metrics["val/accuracy"])]

    counter = Counter()
    run = commands.train(config, callbacks=[counter])
    assert counter.steps == 30
    assert counter.validations == pytest.approx([epoch["val/accuracy"] for epoch in epochs(run)], abs=1e-6)


@pytest.mark.parametrize(("part", "value"), [("network", DropoutNet), ("loss", squared_error), ("datamodule", Random)])
def test_resuming_without_a_part_is_refused(part: str, value: Any, config: Config) -> None:
    given = {part: value() if part == "datamodule" else value}
    replaced = {"network": "model", "datamodule": "data"}.get(part)
    run = stop_at(5, without(config, replaced) if replaced else config, name="broken", **given)
    with pytest.raises(UserError, match=rf"logs.broken was started from Python with {part}=.*{part}=") as caught:
        commands.train(resume=run.name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"started from Python with {part}="):
        run_command_line(["train", "--resume", "broken"])


def test_resuming_with_another_part_is_refused(config: Config) -> None:
    stop_at(5, config, name="plain")
    with pytest.raises(UserError, match=r"logs.plain was started with loss=nothing, not .*squared_error; pass"):
        commands.train(resume="plain", loss=squared_error)


def test_changes_without_a_run_to_resume_are_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"train\(changes=\.\.\.\) needs resume"):
        commands.train(config, changes={"training.max_epochs": 3})
    with pytest.raises(UserError, match="--resume continues in the run's own folder"):
        commands.train(config, resume="x")


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_without_loggers_only_our_own_files_are_written(how: str, tiny_data: Path) -> None:
    changes = {"training.loggers": []} if how == "setting" else {}
    config = small_config(tiny_data, **{"training.max_epochs": 1, **changes})
    run = commands.train(config) if how == "setting" else commands.train(config, loggers=())
    assert not run.tensorboard.exists()
    assert run.metrics.is_file()
    assert len(epochs(run)) == 1


def test_the_csv_logger_has_the_metrics_of_metrics_json(tiny_data: Path) -> None:
    run = commands.train(small_config(tiny_data, **{"training.max_epochs": 2, "training.loggers": "csv"}))
    with (run.path / "csv_logs" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/accuracy"):
        logged = [float(row[name]) for row in rows if row.get(name)]
        assert logged == pytest.approx([epoch[name] for epoch in epochs(run)], abs=1e-5)
    assert not run.tensorboard.exists()


def test_custom_loggers_receive_the_metrics(config: Config, tmp_path: Path) -> None:
    commands.train(config, loggers=[CSVLogger(tmp_path, name="mine")])
    text = (tmp_path / "mine" / "version_0" / "metrics.csv").read_text()
    assert "train/accuracy" in text
    assert "lr-SGD" in text


def test_a_run_does_not_change_the_network_of_the_range_test(tiny_data: Path) -> None:
    changes = {"training.max_epochs": 1, "optimization.learning_rate": "auto"}
    automatic = without(small_config(tiny_data, **changes), "model")
    found = commands.train(automatic, network=build_network())
    rate = json.loads(found.lr_finder_points.read_text())["learning_rate"]
    given = small_config(tiny_data, **{**changes, "optimization.learning_rate": rate})
    assert_same_run(commands.train(without(given, "model"), network=build_network()), found)


def test_the_range_test_takes_the_same_parts(config: Config) -> None:
    def network(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))

    with pytest.raises(UserError, match="has no effect: network= replaces"):
        commands.find_lr(config, network=network)
    assert not Path("logs").exists()
    suggestion = commands.find_lr(
        without(config, "model", "data"),
        network=network,
        loss=lambda logits, labels: 2 * F.cross_entropy(logits, labels),
        datamodule=Random(),
        experiment="range",
    )
    assert suggestion.losses[0] > 1.8  # a cross-entropy of three classes would begin at 1.1
    assert suggestion.losses[0] < 4  # and one of 100 classes, doubled, at 9.2


@pytest.mark.parametrize(("pipeline", "channels"), [("packed", [1]), ("images", [1]), ("packed", [0, 1, 2])])
def test_constant_or_equal_channels_train_and_predict(pipeline: str, channels: list[int], tmp_path: Path) -> None:
    """Green fluorescence and grey images; dividing by the deviation of a constant would give NaN or huge features."""
    data = tmp_path / "microscope"
    data.mkdir()
    lines = ["file,fine_label"]
    for index in range(80):
        pixels = np.zeros((32, 32, 3), dtype=np.uint8)
        pixels[..., channels] = np.random.default_rng(index).integers(0, 100, (32, 32, 1)) + 150 * (index % 2)
        Image.fromarray(pixels).save(data / f"{index}.png")
        lines.append(f"{index}.png,{index % 2}")
    (data / "train.csv").write_text("\n".join(lines))
    workers = {"data.num_workers": 0} if pipeline == "images" else {}
    changes = {"data.source": "download", "data.pipeline": pipeline, "data.batch_size": 8, "training.max_epochs": 2}
    run = commands.train(small_config(data, **changes, **workers))
    best = commands.evaluate(run.path, split="validation").metrics
    assert best["accuracy"].value > 0.9
    assert best["loss"].value < 5
    (first,) = commands.predict(run.path, images=[data / "1.png"])
    assert first.classes[0].name == "1"
    assert first.classes[0].probability > 0.5
