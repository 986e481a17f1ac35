from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from installed_timm import TINY, skip_without_timm
from recipes_of_tests import recipes_of_tests
from small_runs import SMALL_BATCHES, small_config

from cifar100 import commands
from cifar100.config import ModelConfig
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.settings import load_config
from cifar100.training.cost import dry_run, step_timer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and one for temporary files."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(step_timer, "ENOUGH_SECONDS", 0.0)  # how exact the times are does not matter here
    return tmp_path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for a tiny network of timm."""
    skip_without_timm()
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(build_model(ModelConfig(name=TINY), 1000).state_dict(), path)
    return path


def files(*folders: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("recipe", recipes_of_tests())
def test_every_recipe_can_be_estimated_and_nothing_is_left(
    recipe: str, folder: Path, tiny_data: Path, request: pytest.FixtureRequest
) -> None:
    small: dict[str, Any] = {"data.root": tiny_data, "data.source": "generated", "data.batch_size": 8}
    small |= {"training.devices": 1, "training.accelerator": "cpu"}
    if load_config(recipe).data.pipeline == "images":
        small["data.num_workers"] = 0  # their server needs a short path for its socket
    if load_config(recipe).model.pretrained:  # without the hub, and with small images
        small |= {"model.name": TINY, "model.weights": request.getfixturevalue("published"), "data.image_size": 32}
    if load_config(recipe).model.name == "fast_net":
        small["model.widths"] = [8, 8, 8]
    elif recipe in ("best", "strong", "baseline"):
        pytest.skip("deep networks take minutes here; `original` stands for them")
    before = files(folder, tiny_data)
    estimate = commands.dry_run(load_config(recipe, overrides=small))
    assert files(folder, tiny_data) == before
    training = estimate.config.training
    assert list(estimate.seconds_per_step) == list(training.resolutions or (32,))
    assert all(seconds > 0 for seconds in estimate.seconds_per_step.values())
    assert estimate.seconds >= estimate.parts.training_seconds > 0
    if training.max_minutes is not None:
        assert estimate.parts.training_seconds == pytest.approx(60 * training.max_minutes, rel=0.05)
    assert (estimate.parts.validations > 0) == (estimate.config.data.validation_fraction > 0)


def test_the_estimate_is_that_of_the_run(tiny_data: Path) -> None:
    changes = {"optimization.ema_decay": 0.9, "model.widths": [32, 32, 32]}
    config = small_config(tiny_data, **SMALL_BATCHES, **changes)
    estimate = commands.dry_run(config)
    run = commands.train(config)
    sizes = [(run.checkpoints / name).stat().st_size for name in ("last.ckpt", "best.ckpt")]
    assert estimate.parts.steps == 3 * 15
    assert estimate.parts.validations == 3
    assert not (run.checkpoints / "previous.ckpt").exists()  # the run is so short that it saves only once
    few = 50_000  # the random state and the settings, which the trial's save does not hold
    assert estimate.checkpoint_bytes == pytest.approx(sum(sizes), abs=few)
    often = commands.dry_run(replace(config, training=replace(config.training, save_every_minutes=0)))
    assert often.checkpoint_bytes == pytest.approx(2 * sizes[0] + sizes[1], abs=few)
    assert estimate.memory is None or estimate.memory > 100e6
    assert estimate.free_disk > 0


def test_the_batch_size_is_decided(tiny_data: Path) -> None:
    assert commands.dry_run(small_config(tiny_data, **{"data.batch_size": "auto"})).config.data.batch_size == 16


def test_the_memory_of_a_gpu_is_that_of_the_measured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the trials of `data.batch_size auto` before them."""
    reset: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    for device in (torch.device("cpu"), torch.device("cuda")):
        dry_run._reset_peak(device)
    assert reset == [torch.device("cuda")]


def test_a_taken_name_and_data_that_are_not_there_are_refused(tiny_data: Path, folder: Path) -> None:
    Path("logs/taken").mkdir(parents=True)
    with pytest.raises(UserError, match=r"logs.taken already exists"):
        commands.dry_run(small_config(tiny_data), experiment="taken")
    with pytest.raises(UserError, match=r"new does not exist, and a dry run writes nothing; prepare the data"):
        commands.dry_run(small_config(folder / "new"))
    assert not (folder / "new").exists()


def test_custom_data_that_have_changed_are_refused(tiny_data: Path, folder: Path) -> None:
    own = folder / "own"
    shutil.copytree(DataFolder(tiny_data).images, own)
    config = small_config(own, **{"data.source": "download"})
    with pytest.raises(UserError, match="own holds no prepared data"):
        commands.dry_run(config)
    commands.prepare("download", own)
    assert commands.dry_run(config).parts.steps > 0
    lines = (own / "train.csv").read_text().splitlines()
    (own / "train.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match="own is not as it was prepared"):
        commands.dry_run(config)


def test_a_learning_rate_that_is_searched_takes_its_time(tiny_data: Path) -> None:
    given = commands.dry_run(small_config(tiny_data))
    searched = commands.dry_run(small_config(tiny_data, **{"optimization.learning_rate": "auto"}))
    assert searched.config.optimization.learning_rate == "auto"
    assert searched.start_seconds > 300 * searched.seconds_per_step[32] > 0
    assert given.start_seconds >= 0


@pytest.mark.parametrize(("pct_start", "part"), [(0.0, 0), (0.2, 0), (0.3, 1), (0.5, 1), (1.0, 3)])
def test_a_range_test_takes_images_of_the_size_at_the_maximum_of_the_schedule(pct_start: float, part: int) -> None:
    sizes = {"training.resolutions": [16, 20, 24, 32], "training.resolution_changes": [0.3, 0.6, 0.85]}
    config = load_config("laptop", overrides={"optimization.pct_start": pct_start, **sizes})
    assert dry_run._range_test_seconds(config, 90, [1.0, 2.0, 4.0, 8.0]) == 300 * [1.0, 2.0, 4.0, 8.0][part]
