"""Makes every training of a Python process short. Python imports this at its start if the folder is on PYTHONPATH.

The commands of the documentation are run word by word: only here are their trainings cut to a few batches.
"""

import math
from dataclasses import replace
from typing import Any

from cifar100.config import Config

EPOCHS_FOR_ONE = 30
"""An epoch in place of so many, so that a run that is made longer still is."""

_original = Config.__post_init__


def _shortened(self: Any) -> None:
    _original(self)
    training = self.training
    epochs = math.ceil((training.max_epochs or 1) / EPOCHS_FOR_ONE)
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu", "devices": 1}
    if training.devices not in (1, "auto"):
        limits.pop("devices")
    object.__setattr__(self, "training", replace(training, max_epochs=epochs, max_minutes=None, **limits))
    object.__setattr__(self, "data", replace(self.data, batch_size=min(self.data.batch_size, 64)))


Config.__post_init__ = _shortened  # type: ignore[method-assign]
