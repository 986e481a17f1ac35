"""Whole runs on tiny data, through the command line and through Python."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from installed_timm import skip_without_timm
from lightning.pytorch.callbacks import Callback
from recipes_of_tests import recipes_of_tests
from small_runs import SMALL_BATCHES, small_config
from torch.nn import functional as F

from cifar100 import commands
from cifar100.cli.main import main, run_command_line
from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.models.summary import count_parameters
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config
from cifar100.training.optimization.schedules import learning_rate_factor, peak_progress

RUN_FILES = {
    "config.yaml",
    "dataset.json",
    "learning_curves.png",
    "lightning_checkpoints/best.ckpt",
    "lightning_checkpoints/best.ckpt.sha256",
    "lightning_checkpoints/last.ckpt",
    "lightning_checkpoints/last.ckpt.sha256",
    "lightning_logs/hparams.yaml",
    "metrics.csv",
    "metrics.json",
    "model_info.txt",
    "run.lock",
    "split.npz",
    "status.json",
    "train_batch.png",
    "training.log",
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tiny_data: Path) -> Callable[..., Config]:
    return lambda **overrides: small_config(tiny_data, **{**SMALL_BATCHES, **overrides})


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of `settings()`; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = commands.train(small_config(tiny_data, **SMALL_BATCHES))
    return RunFolder(folder / run.path)


@pytest.fixture
def run(finished: RunFolder, in_an_empty_folder: None) -> RunFolder:
    """A copy of it in the working directory."""
    return RunFolder(Path(shutil.copytree(finished.path, "logs/experiment1")))


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run.checkpoints / "last.ckpt")["state_dict"]
    return state


def assert_same_weights(one: RunFolder, other: RunFolder) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


class StopAfter(Callback):
    """Presses Ctrl-C when the epoch after the first `epochs` has begun."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


def test_a_run_leaves_exactly_what_the_readme_says(run: RunFolder) -> None:
    left = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert {name for name in left if "tfevents" not in name} == RUN_FILES
    metrics = json.loads(run.metrics.read_text())
    assert [epoch["epoch"] for epoch in metrics["epochs"]] == [1, 2, 3]
    assert metrics["data"].startswith("Shapes-100, generated")
    assert {"train/loss", "val/accuracy", "val/top5_accuracy", "images_per_second"} <= metrics["epochs"][0].keys()
    log = run.training_log.read_text()
    assert log.count("val accuracy") == 3
    assert "Shapes-100, generated" in log
    assert "Total params" in run.model_info.read_text()


def test_the_written_configuration_repeats_the_run(settings: Callable[..., Config]) -> None:
    first = commands.train(settings())
    second = commands.train(load_config(files=[first.config]))
    assert (first.name, second.name) == ("experiment1", "experiment2")
    assert_same_weights(first, second)


def test_another_seed_is_another_run(settings: Callable[..., Config]) -> None:
    first, second = (commands.train(settings(**{"training.seed": seed})) for seed in (0, 1))
    with pytest.raises(AssertionError):
        assert_same_weights(first, second)


def test_a_run_that_saved_nothing_begins_again(settings: Callable[..., Config], run: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt):
        commands.train(settings(), experiment="broken", callbacks=[StopAfter(0)])
    assert_same_weights(run, commands.train(resume="broken"))


MIXED = {
    "augmentation.flip": "alternating",
    "augmentation.mixup_probability": 0.3,
    "augmentation.cutmix_probability": 0.3,
    "augmentation.random_erasing_probability": 0.5,
    "training.resolutions": [16, 20, 32],
    "training.resolution_changes": [0.4, 0.8],
    "optimization.optimizer": "muon",
}
"""What only the packed pipeline has."""


def test_an_interruption_between_two_saves_costs_no_finished_epoch(
    settings: Callable[..., Config], run: RunFolder
) -> None:
    with pytest.raises(KeyboardInterrupt):
        commands.train(settings(), experiment="broken", callbacks=[StopAfter(2)])
    assert read_checkpoint(RunFolder(Path("logs/broken")).checkpoints / "last.ckpt")["epoch"] == 1
    assert_same_weights(run, commands.train(resume="broken"))


@pytest.mark.parametrize(
    "special", [{}, MIXED, {"data.pipeline": "images", "data.num_workers": 0}], ids=["packed", "mixed", "images"]
)
def test_a_resumed_run_ends_as_the_undisturbed_one(special: dict[str, Any], settings: Callable[..., Config]) -> None:
    config = settings(**{"training.save_every_minutes": 0, **special})
    whole = commands.train(config)
    with pytest.raises(KeyboardInterrupt, match="train --resume broken"):
        commands.train(config, experiment="broken", callbacks=[StopAfter(2)])
    resumed = commands.train(resume="broken")
    assert_same_weights(whole, resumed)
    assert [epoch["epoch"] for epoch in json.loads(resumed.metrics.read_text())["epochs"]] == [1, 2, 3]
    losses = [[e["train/loss"] for e in json.loads(run.metrics.read_text())["epochs"]] for run in (whole, resumed)]
    assert losses[0] == losses[1]
    with pytest.raises(UserError, match="has finished its 3 epochs"):
        commands.train(resume="broken")


@pytest.mark.parametrize("recipe", recipes_of_tests())
def test_every_recipe_trains(recipe: str, tiny_data: Path) -> None:
    overrides = {
        "data.root": tiny_data,
        "data.source": "generated",
        "data.batch_size": 8,
        "training.max_epochs": 1,
        "training.max_minutes": None,
        "training.limit_train_batches": 2,
        "training.accelerator": "cpu",
        "training.loggers": [],
    }
    if load_config(recipe).data.pipeline == "images":
        overrides["data.num_workers"] = 0
    if load_config(recipe).model.pretrained:
        skip_without_timm()
        overrides |= {"model.pretrained": False, "data.image_size": 32}
    config = load_config(recipe, overrides=overrides)
    watch = Watch()
    commands.train(config, callbacks=[watch])
    assert watch.losses[0] == pytest.approx(math.log(100), abs=1.5)  # random parameters know nothing
    assert len(watch.losses) == 2
    assert all(map(math.isfinite, watch.losses))
    assert watch.optimizer == {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}[config.optimization.optimizer]
    assert watch.num_parameters == count_parameters(build_model(config.model, 100))
    assert watch.sam == (config.optimization.sam != "none")
    muon = config.optimization.optimizer == "muon"
    peak = max(config.optimization.learning_rate, config.optimization.muon_learning_rate if muon else 0.0)
    expected = [peak * learning_rate_factor(config.optimization, x, peak=_peak(config)) for x in (0.0, 1.0)]
    assert watch.learning_rates == pytest.approx(expected)


def _peak(config: Config) -> float:
    return peak_progress(config.optimization, 2)


class Watch(Callback):
    """Notes what a run trains with."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.learning_rates: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.optimizer = type(trainer.optimizers[0]).__name__
        self.learning_rates.append(max(group["lr"] for group in trainer.optimizers[0].param_groups))
        self.num_parameters = count_parameters(pl_module.network)
        self.sam = pl_module.sam is not None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def test_epochs_need_not_be_whole(settings: Callable[..., Config]) -> None:
    run = commands.train(settings(**{"training.max_epochs": 1.5}))
    metrics = json.loads(run.metrics.read_text())
    assert [epoch["epoch"] for epoch in metrics["epochs"]] == [1, 2]
    assert "val/accuracy" in metrics["epochs"][1]
    assert metrics["finished"]
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 23  # of 15 an epoch
    with pytest.raises(UserError, match="has finished its 2 epochs"):
        commands.train(resume=run.name)


@pytest.mark.parametrize("length", [{"training.max_epochs": 3}, {"training.max_epochs": 2.5}])
def test_not_every_epoch_need_be_validated(length: dict[str, float], settings: Callable[..., Config]) -> None:
    run = commands.train(settings(**{"training.validate_every": 2, **length}))
    epochs = json.loads(run.metrics.read_text())["epochs"]
    assert ["val/accuracy" in epoch for epoch in epochs] == [False, True, True]
    assert epochs[1]["val/loss"] != epochs[2]["val/loss"]


def test_a_run_ends_with_its_time(settings: Callable[..., Config]) -> None:
    started = time.monotonic()
    run = commands.train(settings(**{"training.max_minutes": 0.05, "training.max_epochs": None}))
    assert 3 <= time.monotonic() - started < 60  # other programs may slow down the last epoch and the pictures
    metrics = json.loads(run.metrics.read_text())
    assert metrics["finished"]
    assert metrics["epochs"][-1]["epoch"] > 1
    assert "val/accuracy" in metrics["epochs"][-1]
    rates = [epoch["learning_rate"] for epoch in metrics["epochs"]]
    assert rates[-1] < 0.01 * max(rates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, where its compiler is first loaded
@pytest.mark.parametrize("given", [{"optimization.optimizer": "muon"}, {"optimization.sam": "friendly"}])
def test_compiling_changes_nothing_but_rounding(given: dict[str, Any], settings: Callable[..., Config]) -> None:
    short = {**given, "training.max_epochs": 1}
    plain = commands.train(settings(**short))
    compiled = commands.train(settings(**short, **{"training.compile": "default"}))
    assert weights(plain).keys() == weights(compiled).keys()
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-2, atol=1e-3)
    assert commands.evaluate(compiled.name).num_images == 200


def test_the_number_of_workers_changes_nothing(settings: Callable[..., Config]) -> None:
    runs = [
        commands.train(
            settings(**{"data.pipeline": "images", "data.num_workers": workers, "training.limit_train_batches": 4})
        )
        for workers in (0, 2)
    ]
    assert_same_weights(*runs)


def test_training_does_not_need_the_test_images(
    settings: Callable[..., Config], tiny_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_data, root)
    folder = DataFolder(root)
    for file in (folder.packed_images("test"), folder.packed_labels("test"), folder.csv("test")):
        file.unlink()
    shutil.rmtree(folder.images / "test")
    for pipeline in ({"data.pipeline": "packed"}, {"data.pipeline": "images", "data.num_workers": 0}):
        commands.train(settings(**{"data.root": root, "training.max_epochs": 1, **pipeline}))
    assert not folder.packed.joinpath("test_images.npy").exists()
    assert commands.evaluate("experiment1").num_images == 200  # made again from the originals


def test_all_training_images_can_be_used(settings: Callable[..., Config]) -> None:
    run = commands.train(settings(**{"data.validation_fraction": 0, "training.max_epochs": 1}))
    assert not (run.checkpoints / "best.ckpt").exists()
    assert commands.evaluate(run.name).checkpoint.endswith("last.ckpt")
    with pytest.raises(UserError, match="no validation images"):
        commands.evaluate(run.name, split="validation")


def test_the_learning_rate_finder_leaves_plot_and_numbers(settings: Callable[..., Config]) -> None:
    suggestion = commands.find_lr(settings(), experiment="range")
    folder = RunFolder(Path("logs/range"))
    assert folder.lr_finder_plot.read_bytes().startswith(b"\x89PNG")
    assert json.loads(folder.lr_finder_points.read_text())["learning_rate"] == suggestion.learning_rate
    assert 1e-4 < suggestion.learning_rate < 10
    assert not list(folder.path.glob(".lr_find*"))


@pytest.mark.usefixtures("short_range_tests")
def test_an_automatic_learning_rate_is_found_once_and_changes_nothing_else(settings: Callable[..., Config]) -> None:
    large = {"data.batch_size": 32}
    automatic = commands.train(settings(**large, **{"optimization.learning_rate": "auto"}))
    found = load_config(files=[automatic.config]).optimization.learning_rate
    assert isinstance(found, float)
    assert automatic.lr_finder_plot.is_file()
    assert_same_weights(automatic, commands.train(settings(**large, **{"optimization.learning_rate": found})))


def test_evaluation_agrees_with_training_and_writes_its_file(run: RunFolder) -> None:
    best = json.loads(run.metrics.read_text())["best"]
    validation = commands.evaluate(run.name, split="validation")
    assert validation.top1 == pytest.approx(best["val/accuracy"], abs=1e-6)
    assert validation.loss == pytest.approx(best["val/loss"], rel=1e-4)
    assert validation.epoch == best["epoch"]
    test = commands.evaluate(run.path, checkpoint="last")
    assert (test.split, test.num_images, test.epoch) == ("test", 200, 3)
    assert json.loads(run.evaluation("test").read_text())["metrics"]["accuracy"]["value"] == test.top1


def test_flip_augmentation_averages_the_logits_of_both_views(
    run: RunFolder, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = (torch.from_numpy(array) for array in DataFolder(tiny_data).load("test"))
    trained = load_trained(run, "last")
    logits = (trained.logits(images) + trained.logits(images.flip(3))).clone() / 2
    plain = commands.evaluate(run.name, checkpoint="last")
    assert plain.flip_tta is None
    capsys.readouterr()
    run_command_line(["evaluate", run.name, "--checkpoint", "last", "--flip-tta"])
    assert "with flip TTA" in capsys.readouterr().out
    written = json.loads(run.evaluation("test").read_text())
    assert {name: figure["value"] for name, figure in written["metrics"].items()} == {
        name: figure.value for name, figure in plain.metrics.items()
    }
    assert written["flip_tta"]["metrics"]["accuracy"]["value"] == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )
    assert written["flip_tta"]["metrics"]["loss"]["value"] == pytest.approx(
        F.cross_entropy(logits, labels).item(), rel=1e-4
    )


def test_predictions_are_those_of_the_evaluated_network(run: RunFolder, tiny_data: Path) -> None:
    images = sorted((DataFolder(tiny_data).images / "test").glob("*.png"))[:3]
    predictions = commands.predict(run.name, images, top=3)
    assert [prediction.image for prediction in predictions] == [str(image) for image in images]
    for prediction in predictions:
        shares = [entry.probability for entry in prediction.classes]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1


def test_evaluation_without_the_data_says_how_to_get_the_same_again(
    settings: Callable[..., Config], tiny_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "moved")
    run = commands.train(settings(**{"data.root": "moved", "training.max_epochs": 1}))
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(UserError, match=r"cifar100 prepare --source generated --root moved$"):
        commands.evaluate(run.name)


def test_a_checkpoint_of_another_architecture_is_refused(settings: Callable[..., Config]) -> None:
    small = commands.train(settings(**{"training.max_epochs": 1}))
    large = commands.train(settings(**{"training.max_epochs": 1, "model.widths": [8, 8, 16]}))
    with pytest.raises(UserError, match="another architecture"):
        commands.evaluate(small.name, checkpoint=str(large.checkpoints / "last.ckpt"))


def test_tensorboard_has_metrics_learning_rate_graph_and_hyperparameters(run: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags: dict[str, set[str]] = {"scalars": set(), "tensors": set(), "images": set()}
    has_graph = False
    for file in run.tensorboard.glob("events*"):
        events = EventAccumulator(str(file))
        events.Reload()
        has_graph = has_graph or bool(events.Tags()["graph"])
        for kind, names in tags.items():
            names |= set(events.Tags()[kind])
    shown = tags["scalars"] | tags["tensors"]
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr-SGD", "best/val_accuracy"} <= shown
    assert "train/loss_step" in shown
    assert tags["images"] == {"train/first_batch"}
    assert has_graph


def test_without_a_terminal_a_run_prints_one_plain_line_per_epoch_and_no_warning(
    settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = settings()
    options = ["--data.root", str(config.data.root), "--data.batch_size", "32", "--training.max_epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["cifar100", "train", "--recipe", "quickstart", *options])
    main()
    shown = capfd.readouterr()
    assert shown.err == ""
    assert [line.split()[0] for line in shown.out.splitlines() if "/2 " in line] == ["1/2", "2/2"]
    assert "\x1b" not in shown.out
    assert "cifar100 evaluate experiment1" in shown.out


def test_what_quickstart_says_fits_into_80_columns(
    settings: Callable[..., Config], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_data, tmp_path / "dataset_shapes100")
    root = Path("dataset_shapes100")
    commands.prepare("generated", root)
    commands.train(settings(**{"data.root": root, "training.max_epochs": 1}))
    lines = capsys.readouterr().out.splitlines()
    # the processor's name is the machine's own
    assert [line for line in lines if len(line) > 80 and not line.startswith("device ")] == []


def test_shapes_100_is_never_taken_for_cifar_100(settings: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match="Shapes-100"):
        commands.train(settings(**{"data.source": "download"}))
    assert not Path("logs").exists()


def disk_is_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("writer", ["cifar100.runs.history.write_json", "cifar100.runs.checkpoints.open_new"])
def test_a_full_disk_gets_one_line_whatever_is_being_written(
    writer: str, settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, disk_is_full)
    with pytest.raises(UserError, match=r"\S*run1\S* cannot be written \(No space left on device\); "):
        commands.train(settings(), experiment="run1")


def test_a_disk_that_is_full_before_the_start_leaves_no_folder(
    settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifar100.training.train.save_split", disk_is_full)
    with pytest.raises(UserError, match=r"run1 cannot be created \(No space left on device\)"):
        commands.train(settings(), experiment="run1")
    assert list(Path("logs").iterdir()) == []


@pytest.mark.parametrize(
    ("writer", "named"),
    [
        ("cifar100.training.reporting.run_log.open_to_append", "training.log cannot be written"),
        ("tensorboard.summary.writer.record_writer.RecordWriter.write", "TensorBoardLogger failed"),  # in a thread
    ],
)
def test_a_run_goes_on_without_what_only_reports_it(
    writer: str,
    named: str,
    settings: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(writer, disk_is_full)
    run = commands.train(settings())
    assert json.loads(run.status.read_text())["status"] == "finished"
    assert [line for line in capsys.readouterr().err.splitlines() if named in line]


@pytest.mark.skipif(os.name != "posix", reason="Windows does not remove a folder of open files")
@pytest.mark.parametrize("new_name", [None, "elsewhere"])
def test_a_folder_that_goes_away_during_the_training_is_one_line(
    new_name: str | None, settings: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    class GoesAway(Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if new_name is None:
                shutil.rmtree("logs/run1")
            else:
                Path("logs/run1").rename(new_name)

    with pytest.raises(UserError, match=r"^logs.run1 was removed or renamed during the training"):
        commands.train(settings(), experiment="run1", callbacks=[GoesAway()])
    assert not Path("logs/run1").exists()
    assert capsys.readouterr().err == ""  # no word of the loggers either


@pytest.mark.skipif(os.name != "posix", reason="Windows does not rename a folder of open files")
def test_a_run_that_takes_the_name_of_a_renamed_one_is_left_alone(settings: Callable[..., Config]) -> None:
    other = {"status": "running", "pid": 1, "host": "elsewhere"}

    class Replaced(Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            Path("logs/run1").rename("logs/mine")
            Path("logs/run1/lightning_checkpoints").mkdir(parents=True)
            Path("logs/run1/status.json").write_text(json.dumps(other))

    with pytest.raises(UserError, match=r"^logs.run1 was removed or renamed during the training"):
        commands.train(settings(), experiment="run1", callbacks=[Replaced()])
    assert json.loads(Path("logs/run1/status.json").read_text()) == other
    assert not list(Path("logs/run1/lightning_checkpoints").iterdir())
    assert not Path("logs/run1/metrics.json").exists()


def test_a_missing_device_is_refused_before_anything_is_written(settings: Callable[..., Config]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match=r"--training\.accelerator is cuda"):
        commands.train(settings(**{"training.accelerator": "cuda"}))
    assert not Path("logs").exists()


@pytest.mark.real_data
def test_a_few_steps_of_original_on_cifar_100(real_source: Path) -> None:
    overrides = {"data.source": str(real_source), "training.max_epochs": 1}
    overrides |= {"training.limit_train_batches": 3, "training.limit_val_batches": 3}
    run = commands.train(load_config("original", overrides=overrides))
    metrics = json.loads(run.metrics.read_text())
    assert (metrics["recipe"], metrics["data"]) == ("original", "CIFAR-100, official")
    assert "11,227,812" in run.model_info.read_text()
    assert abs(metrics["epochs"][0]["train/loss"] - math.log(100)) < 1.5
