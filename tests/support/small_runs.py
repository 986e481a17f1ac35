"""Small runs for tests: settings, a callback that acts at a step, and the comparison of two runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from cifar100 import commands
from cifar100.config import Config
from cifar100.errors import Stopped
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import RunFolder, how_to_resume
from cifar100.settings import load_config


def small_overrides(root: Path, **changes: Any) -> dict[str, Any]:
    """Overrides of the recipe quickstart: 3 epochs of 15 steps of a tiny network."""
    return {
        "data.root": root,
        "data.source": "generated",
        "data.batch_size": 32,
        "model.name": "fast_net",
        "model.widths": [8, 8, 8],
        "training.max_epochs": 3,
        "training.accelerator": "cpu",
        **changes,
    }


SMALL_BATCHES = {"data.batch_size": 8, "training.limit_train_batches": 15}
"""For runs whose steps count and whose images do not: fewer images in as many steps as `small_overrides` gives."""


def small_config(root: Path, **changes: Any) -> Config:
    return load_config("quickstart", overrides=small_overrides(root, **changes))


def without(config: Config, *sections: str) -> Config:
    """Return a configuration with sections of the recipe: settings that custom parts replace must not be given."""
    return replace(config, **{section: getattr(load_config("quickstart"), section) for section in sections})


class AtStep(Callback):
    """Does something at the end of optimizer step `step`, counted from 1, before the state is saved."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self.step = step
        self.action = action

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.action()


def send(signum: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(signum)  # unlike os.kill, which ends the process on Windows


def stop_at(step: int, config: Config, *, name: str, signum: int = signal.SIGTERM, **parts: Any) -> RunFolder:
    """Start a run and stop it at a step by a signal."""
    callbacks = [*parts.pop("callbacks", ()), AtStep(step, send(signum))]
    with pytest.raises(Stopped) as stopped:
        commands.train(config, experiment=name, callbacks=callbacks, **parts)
    run = RunFolder(Path("logs") / name)
    assert str(stopped.value).endswith(how_to_resume(run))
    return run


def state(run: RunFolder, name: str = "last.ckpt") -> dict[str, Any]:
    return read_checkpoint(run.checkpoints / name)


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}/{index}")
    else:
        assert one == other, where


def epochs(run: RunFolder) -> list[dict[str, float]]:
    """The recorded epochs without what depends on the clock."""
    content = json.loads(run.metrics.read_text())
    assert content["finished"]
    return [{k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in content["epochs"]]


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    first, second = state(one), state(other)
    for key in ("state_dict", "optimizer_states", "epoch", "global_step"):
        assert_equal(first[key], second[key], key)
    assert_equal(first.get("averaged"), second.get("averaged"), "averaged")
    assert_equal(first["cifar100"]["random_state"], second["cifar100"]["random_state"])
    assert epochs(one) == epochs(other)
    lines = [line for line in other.training_log.read_text().splitlines() if "  epoch " in line]
    assert [line.split()[3].partition("/")[0] for line in lines] == [str(epoch["epoch"]) for epoch in epochs(one)]
    if (one.checkpoints / "best.ckpt").is_file():
        best = [state(run, "best.ckpt") for run in (one, other)]
        for content in best:
            content.pop("hyper_parameters")  # a resumed run may have other settings
        assert_equal(*best, "best")
