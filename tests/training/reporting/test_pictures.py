"""The pictures of a run: the first training batch and when they are drawn."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from small_runs import SMALL_BATCHES, small_config, stop_at, without
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from cifar100 import commands
from cifar100.errors import Diverged
from cifar100.plots import image_grid as grid
from cifar100.runs.folder import RunFolder
from cifar100.training.reporting import pictures
from cifar100.training.reporting.pictures import displayable, label_text

NAMES = ("cat", "dog", "aquarium_fish", "pickup_truck")


@pytest.fixture(autouse=True)
def blank_pictures() -> None:
    """The pictures of these tests are drawn."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (torch.tensor(1), "dog"),
        (torch.tensor([0.0, 1.0, 0.0, 0.0]), "dog"),
        (torch.tensor([0.7, 0.3, 0.0, 0.0]), "cat 0.7 / dog 0.3"),
        (torch.tensor([0.0, 0.0, 0.34, 0.66]), "pickup_truck 0.66 /\naquarium_fish 0.34"),
        (torch.tensor([0.96, 0.04, 0.0, 0.0]), "cat"),  # too little to be named
        (torch.tensor([0.5, 0.3, 0.2, 0.0]), "cat 0.5 / dog 0.3"),
        (torch.tensor(7), "class 7"),
    ],
)
def test_a_label_names_its_classes(label: Tensor, expected: str) -> None:
    assert label_text(label, NAMES) == expected


def test_a_foreign_class_name_is_one_short_line() -> None:
    text = label_text(torch.tensor(0), ("a\nname [/b] \x1b]52;c;x\x07" + "x" * 500,))
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) <= grid.MAX_NAME


def test_normalised_images_get_their_pixels_back() -> None:
    pixels = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    normalised = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    shown, note = displayable(normalised.to(memory_format=torch.channels_last), (mean, std))
    assert note == []
    assert np.array_equal(shown, pixels.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_unknown_normalisation_are_shown_between_their_extremes(channels: int) -> None:
    images = torch.randn(4, channels, 8, 8).double()
    shown, note = displayable(images, None)
    assert shown.shape == (4, 8, 8, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    assert note[-1] == "brightness stretched"
    as_they_are, note = displayable(torch.full((1, channels, 2, 2), 0.2), None)
    assert np.unique(as_they_are).tolist() == [51]
    assert "brightness stretched" not in note


def read(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class Batches(Callback):
    """Keeps the first batch, as the module gets it."""

    first: tuple[Tensor, Tensor] | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.first = self.first or tuple(part.clone() for part in batch)


@pytest.mark.parametrize("pipeline", ["packed", "images"])
def test_the_picture_shows_the_first_batch_enlarged(
    pipeline: str, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def keep(images: Any, labels: Any, **texts: str) -> Any:
        drawn.update(texts, images=images, labels=labels)
        return grid.image_grid(images, labels, **texts)

    monkeypatch.setattr(pictures, "image_grid", keep)
    special = {
        "packed": {
            "augmentation.mixup_probability": 1.0,
            "augmentation.mixup_alpha": 10,
            "training.resolutions": [16, 32],
            "training.resolution_changes": [0.5],
            "data.batch_size": 100,
        },
        "images": {"data.pipeline": "images", "data.num_workers": 0},
    }[pipeline]
    batches = Batches()
    run = commands.train(small_config(tiny_data, **special, **{"training.max_epochs": 1}), callbacks=[batches])
    assert batches.first is not None
    images, _labels = batches.first
    count, side = (64, 16) if pipeline == "packed" else (32, 32)
    assert drawn["images"].shape == (count, side, side, 3)
    flat = np.corrcoef(drawn["images"].transpose(0, 3, 1, 2).ravel(), images[:count].numpy().ravel())
    assert flat[0, 1] > 0.95  # a linear function in each channel, cut off at the ends
    mixed = [" / " in text.replace("\n", " ") for text in drawn["labels"]]
    assert sum(mixed) > 50 if pipeline == "packed" else not any(mixed)
    assert drawn["title"] == "Training batch of step 1, as the network saw it"
    number = "64 of 100" if pipeline == "packed" else "32"
    assert f"{number} images, {side} x {side} pixels, epoch 1" in drawn["subtitle"]
    shown = read(run.train_batch)
    factor = 128 // side
    block = drawn["images"][0].repeat(factor, 0).repeat(factor, 1)
    left = slice(grid.MARGIN, grid.MARGIN + 128)
    assert sum(np.array_equal(shown[top : top + 128, left], block) for top in range(len(shown) - 127)) == 1


def test_a_run_stopped_by_a_signal_leaves_pictures_and_a_resumed_one_keeps_the_batch(tiny_data: Path) -> None:
    run = stop_at(20, small_config(tiny_data, **SMALL_BATCHES), name="run")
    assert read(run.learning_curves).std() > 0
    before, curves = run.train_batch.read_bytes(), run.learning_curves.read_bytes()
    commands.train(resume="run")
    assert run.train_batch.read_bytes() == before
    assert run.learning_curves.read_bytes() != curves


def test_a_resumed_run_without_a_picture_shows_its_own_first_batch(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []

    def keep(images: Any, labels: Any, *, title: str, subtitle: str) -> Any:
        titles.append(title)
        return grid.image_grid(images, labels, title=title, subtitle=subtitle)

    run = stop_at(20, small_config(tiny_data, **SMALL_BATCHES), name="run")
    run.train_batch.unlink()
    monkeypatch.setattr(pictures, "image_grid", keep)
    commands.train(resume="run")
    assert titles == ["Training batch of step 21, as the network saw it"]
    assert run.train_batch.is_file()


class Breaks(Callback):
    """Makes the weights of the network NaN at the start of an epoch, counted from 0."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            for parameter in pl_module.parameters():
                parameter.data.fill_(torch.nan)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_diverged_run_leaves_what_there_is(epoch: int, tiny_data: Path) -> None:
    with pytest.raises(Diverged):
        commands.train(small_config(tiny_data, **SMALL_BATCHES), experiment="run", callbacks=[Breaks(epoch)])
    run = RunFolder(Path("logs/run"))
    assert run.train_batch.is_file()
    assert run.learning_curves.is_file() == run.metrics_table.is_file() == (epoch == 1)


def test_a_second_signal_draws_nothing(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "learning_curves", interrupted)
    stop_at(20, small_config(tiny_data, **SMALL_BATCHES), name="run", signum=signal.SIGINT)
    assert not RunFolder(Path("logs/run")).train_batch.exists()
    assert not list(Path("logs/run").glob(".*.partial"))


def test_a_failing_picture_is_one_warning_and_the_run_finishes(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "write_png", full)
    run = commands.train(small_config(tiny_data, **{"training.max_epochs": 1}))
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(" cannot be drawn (")[2] for line in errors] == [
        "No space left on device); the run is complete without it."
    ] * 2
    assert not run.train_batch.exists()
    assert commands.list_runs()[0].status == "finished"


class OddImages(L.LightningDataModule):
    """Images of one channel and another size, in no known normalisation, without validation images."""

    num_classes = 3

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def train_dataloader(self) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(0)
        images = 3 * torch.randn(24, *self.shape, generator=generator) + 1
        return DataLoader(TensorDataset(images, torch.arange(24) % 3), batch_size=6)


@pytest.mark.parametrize("shape", [(1, 28, 28), (4, 20, 300), (3, 8, 8)])
def test_a_custom_data_module_with_other_images_has_pictures(shape: tuple[int, int, int], tiny_data: Path) -> None:
    def network(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * shape[0], num_classes))

    config = without(small_config(tiny_data, **{"training.max_epochs": 1}), "model", "data")
    run = commands.train(config, network=network, datamodule=OddImages(shape))
    assert read(run.train_batch).std() > 0
    assert run.learning_curves.is_file()


def test_the_pictures_take_less_than_five_seconds(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []
    draw = pictures.Pictures.draw

    def timed(*arguments: Any) -> Any:
        started = time.process_time()  # of a processor, because other tests may run beside this one
        drawn = draw(*arguments)
        seconds.append(time.process_time() - started)
        return drawn

    monkeypatch.setattr(pictures.Pictures, "draw", timed)
    commands.train(small_config(tiny_data, **{"training.max_epochs": 1, "data.batch_size": 64}))
    assert seconds[0] < 5
