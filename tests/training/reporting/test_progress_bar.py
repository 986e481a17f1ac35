"""The progress bar of an epoch."""

from __future__ import annotations

import io
import re
from typing import Any

from pseudo_terminal import without_escapes
from rich.console import Console

from cifar100.training.reporting.progress_bar import EpochProgress


class Trainer:
    current_epoch, max_epochs, num_training_batches = 1, 5, 40


def bar(console: Console, calls: list[None]) -> EpochProgress:
    def metrics() -> dict[str, float]:
        calls.append(None)
        return {"loss": 1.25, "accuracy": 0.5}

    return EpochProgress(console, metrics=metrics)


def test_a_terminal_shows_epoch_batches_and_metrics() -> None:
    trainer: Any = Trainer()
    module: Any = None
    screen, calls = io.StringIO(), list[None]()
    progress = bar(Console(file=screen, force_terminal=True, width=80), calls)
    progress.on_train_start(trainer, module)
    for batch in range(10):
        progress.on_train_batch_end(trainer, module, None, None, batch)
    progress.progress.refresh()
    progress.on_train_epoch_end(trainer, module)
    shown = without_escapes(screen.getvalue())
    assert max(len(line) for line in re.split(r"[\r\n]", shown)) <= 80
    assert "epoch 2/5" in shown
    assert "1 of 40" in shown
    assert "loss 1.250  accuracy 50.00%" in shown
    assert len(calls) == 1  # not in every step: reading the metrics waits for the device


def test_without_a_terminal_nothing_is_read_or_shown() -> None:
    trainer: Any = Trainer()
    module: Any = None
    screen, calls = io.StringIO(), list[None]()
    progress = bar(Console(file=screen, force_terminal=False), calls)
    progress.on_train_start(trainer, module)
    progress.on_train_batch_end(trainer, module, None, None, 0)
    progress.on_train_epoch_end(trainer, module)
    assert (screen.getvalue(), calls) == ("", [])
