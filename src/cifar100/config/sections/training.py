"""Settings of the length of a run, its devices, its precision, saving and logging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cifar100.config.declarations import with_settings_of
from cifar100.config.sections.section import Section
from cifar100.config.types import Needs, Range

MINUTES_OF_A_YEAR = 525_600

DEFAULT_EPOCHS = 30.0
"""Length of a run for which neither epochs nor minutes are given."""


@dataclass(frozen=True, kw_only=True)
@with_settings_of("training/reporting/loggers.py", "logger", chosen_by="loggers", several=True)
class TrainingConfig(Section):
    """Length, devices, precision, saving and logging."""

    max_epochs: Annotated[float | None, Range(0, 100_000, above=True)] = None
    """Passes over the training images; may be fractional. null is no limit if `max_minutes` is given, else 30."""

    max_minutes: Annotated[float | None, Range(0, MINUTES_OF_A_YEAR, above=True, why="a year")] = None
    """End the run this many minutes after the command started, not counting the final validation. With both limits, the
    run ends at the one that it reaches first. The learning-rate schedule spans the run. null is no limit."""

    save_every_minutes: Annotated[float, Range(0, MINUTES_OF_A_YEAR, why="a year")] = 2.0
    """Minutes between two saves of the state of the run, also mid-epoch. The state is always saved at the end of the
    run and at a signal. 0 saves after every step."""

    loggers: tuple[str, ...] = ("tensorboard",)
    """Loggers that receive the metrics, such as [tensorboard, csv]; [] is none. `metrics.json`, `metrics.csv` and
    `training.log` are always written."""

    profile: bool = False
    """Profile some early steps: a trace for Perfetto and TensorBoard, a table of the time of each part of a step, and
    the fraction of the peak performance of the machine. The results do not change."""

    max_nonfinite_losses: Annotated[int, Range(1, 1_000_000)] = 3
    """Number of consecutive losses that are not finite after which the run stops as diverged."""

    validate_every: Annotated[int, Range(1, 100_000)] = 1
    """Epochs between two validations; the last epoch is always validated."""

    resolutions: Annotated[tuple[int, ...] | None, Range(16, 256), Needs("data.pipeline", "packed")] = None
    """Progressive resizing: sides in pixels to which the training images are scaled in turn, such as [20, 24, 32]; null
    is `data.image_size` throughout (`packed` pipeline only)."""

    resolution_changes: Annotated[tuple[float, ...] | None, Range(0, 1, above=True), Needs("training.resolutions")] = (
        None
    )
    """Fractions of the run at which the second and later `resolutions` begin, such as [0.15, 0.5]."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of the initial weights, the order of the images and the augmentation."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; `auto` selects CUDA, else Apple's MPS, else the CPU."""

    devices: Annotated[int | Literal["auto"], Range(1, 1024)] = 1
    """Devices per machine, one process each; with `cpu`, the number of processes. `auto` is 1, but on a CPU with
    bfloat16 instructions one process per processor: they share the images of `data.batch_size` and compute in
    bf16-mixed."""

    num_nodes: Annotated[int, Range(1, 1024)] = 1
    """Number of machines; with more than one, start the processes with torchrun or SLURM's srun."""

    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """Floating-point precision; `auto` is bf16-mixed on CUDA devices that support it and for the processes that
    `devices auto` starts on a CPU, else 32-true."""

    channels_last: bool = False
    """Store images and convolution weights in the (N, H, W, C) memory layout: faster on CUDA and on most CPUs."""

    compile: Annotated[
        Literal["none", "default", "reduce-overhead", "max-autotune"], Needs("model.cache_features", False)
    ] = "none"
    """Mode of torch.compile for the network and for `muon`. Pays off in long runs on CUDA; compiling takes
    a minute or more."""

    deterministic: bool = False
    """Use only algorithms that are bit-for-bit reproducible on the same machine; slower on CUDA."""

    limit_train_batches: Annotated[int | None, Range(1, 1_000_000_000)] = None
    """Use only this many batches of each training epoch, for a quick trial; null is all."""

    limit_val_batches: Annotated[int | None, Range(1, 1_000_000_000)] = None
    """Use only this many validation batches, for a quick trial; null is all."""

    def __post_init__(self) -> None:
        """Check the values. Without any length, set that of the default."""
        super().__post_init__()
        if self.max_epochs is None and self.max_minutes is None:
            object.__setattr__(self, "max_epochs", DEFAULT_EPOCHS)

    @property
    def num_processes(self) -> int:
        """Total number of processes on all machines."""
        return self.processes_here * self.num_nodes

    @property
    def processes_here(self) -> int:
        """Number of processes on each machine. `devices.resolve` decides on `auto` before a run begins."""
        return 1 if self.devices == "auto" else self.devices
