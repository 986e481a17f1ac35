"""Record a few training steps with torch's profiler, for Perfetto and TensorBoard."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile

from cifar100.files.atomic import write_atomically
from cifar100.files.regular import read_bytes

MAX_BYTES = 2**30
"""Maximum size of a trace, compressed."""


class StepTrace(Callback):
    """Writes a trace of some steps of rank 0.

    Args:
        path: the file, a compressed Chrome trace.
        first_step: number of the first step, from 0.
        num_steps: number of steps.
    """

    def __init__(self, path: Path, *, first_step: int, num_steps: int) -> None:
        self.path = path
        self.first_step = first_step
        self.num_steps = num_steps
        self._steps = 0
        self._profile: Any = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin before the first of the steps."""
        if self._steps == self.first_step and trainer.is_global_zero:
            cuda = [ProfilerActivity.CUDA] if trainer.strategy.root_device.type == "cuda" else []
            self._profile = profile(activities=[ProfilerActivity.CPU, *cuda])
            self._profile.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the trace after the last of the steps."""
        self._steps += 1
        if self._steps >= self.first_step + self.num_steps:
            self._finish()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what there is of a run that ends before."""
        self._finish()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop recording."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _finish(self) -> None:
        if self._profile is None:
            return
        recorded, self._profile = self._profile, None
        recorded.stop()
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / self.path.name
            recorded.export_chrome_trace(str(written))
            content = read_bytes(written, limit=MAX_BYTES)
        self.path.parent.mkdir(exist_ok=True)
        write_atomically(self.path, content)
