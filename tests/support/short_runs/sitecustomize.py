"""Makes every training of a Python process short. Python imports this at its start if the folder is on PYTHONPATH.

The commands of the documentation are run word by word: only here are their trainings cut to a few batches.
"""

import math
from dataclasses import replace
from typing import Any

from cifar100.config import Config

FEW_EPOCHS = 10
"""A run of more epochs gets a length up to this, so that one that is made longer still is; fewer are kept."""

BATCH_SIZE = 16
"""The maximum of the batch size: a step of a ResNet-18 with 64 images takes seconds on a busy machine."""

_original = Config.__post_init__


def _shortened(self: Any) -> None:
    _original(self)
    training = self.training
    epochs = training.max_epochs or 1
    if epochs > FEW_EPOCHS:
        epochs = min(FEW_EPOCHS, 3 + math.ceil(epochs / 30))
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu", "devices": 1}
    if training.devices not in (1, "auto"):
        limits.pop("devices")
    object.__setattr__(self, "training", replace(training, max_epochs=epochs, max_minutes=None, **limits))
    batch_size = BATCH_SIZE if self.data.batch_size == "auto" else min(self.data.batch_size, BATCH_SIZE)
    source = "generated" if self.data.source == "download" else self.data.source
    object.__setattr__(self, "data", replace(self.data, batch_size=batch_size, source=source))


Config.__post_init__ = _shortened  # type: ignore[method-assign]
