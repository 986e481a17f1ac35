"""Folds are ordinary runs: each image is examined by the network that has not seen it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config, small_overrides, stop_at

from cifar100 import commands
from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.results.audit import NetworkView
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config

ONE_EPOCH = {"training.max_epochs": 1, "training.loggers": []}


def config(root: Path, **changes: object) -> Config:
    return small_config(root, **ONE_EPOCH, **changes)


def test_folds_are_trained_once_and_examine_all_images(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"audit-{tiny_data.name}"  # also that of the folder that is written to
    stop_at(3, config(tiny_data, **{"data.num_folds": 2, "data.fold": 1}), name=f"{name}-fold1")  # an interrupted audit
    report = commands.audit(tiny_data, folds=2, config=config(tiny_data))
    assert "of all 800 images" in report.labels
    runs = [RunFolder(Path("logs") / f"{name}-fold{fold}") for fold in range(2)]
    held_out = [load_split(run.split).validation for run in runs]
    assert sorted(np.concatenate(held_out).tolist()) == list(range(600))

    arrays = np.load(f"{name}/probabilities.npz")
    pixels = [DataFolder(tiny_data).load(split)[0] for split in ("train", "test")]
    networks = [commands.load_model(run) for run in runs]
    for network, positions in zip(networks, held_out, strict=True):
        expected = network(pixels[0][positions])
        assert arrays["probabilities"][positions] == pytest.approx(expected, abs=1e-5)
    mean = np.mean([network(pixels[1]) for network in networks], axis=0)
    assert arrays["probabilities"][600:] == pytest.approx(mean, abs=1e-5)

    before = [run.training_log.stat().st_mtime_ns for run in runs]
    commands.audit(tiny_data, folds=2, config=config(tiny_data))
    assert [run.training_log.stat().st_mtime_ns for run in runs] == before  # not trained again
    with pytest.raises(UserError, match=r"audit-.*-fold0 was trained with --data.num_folds 2, but 3 is requested"):
        commands.audit(tiny_data, folds=3, config=config(tiny_data))
    with pytest.raises(UserError, match=r"audit-.*-fold0 was trained with --training.seed 0, but 1 is requested"):
        commands.audit(tiny_data, folds=2, config=config(tiny_data, **{"training.seed": 1}))
    assert not Path(f"logs/{name}-fold2").exists()


def test_an_image_that_was_left_out_has_no_probabilities(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(100), 800).astype(np.float32)
    probabilities[5] = 0
    view = NetworkView(
        network="", unseen_images="", probabilities=probabilities, is_unseen=np.arange(800) != 5, features=None
    )
    steps = {
        "check_earlier": lambda *_, **__: None,
        "train_once": lambda *_, **__: None,
        "view_of_folds": lambda *_: view,
    }
    for name, step in steps.items():
        monkeypatch.setattr(f"cifar100.search.folds.{name}", step)
    commands.audit(tiny_data, folds=2, config=config(tiny_data), out="audit")
    assert np.isnan(np.load("audit/probabilities.npz")["probabilities"]).all(axis=1).nonzero()[0].tolist() == [5]
    report = commands.audit(tiny_data, probabilities="audit/probabilities.npz", out="again")
    assert "of 799 images" in report.labels


def test_folds_of_the_settings_contradict_those_of_the_audit(tiny_data: Path, tmp_path: Path) -> None:
    settings = load_config("quickstart", overrides=small_overrides(tiny_data, **{"data.num_folds": 4}))
    with pytest.raises(UserError, match=r"--data.num_folds and --data.fold have no effect with --folds"):
        commands.audit(tiny_data, folds=2, config=settings, out=tmp_path)
