"""What the benchmarks share: timing in turns, the description of the machine, and the table."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

import cifar100  # noqa: F401  # first: sets what torch reads when it is loaded

# isort: split

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cifar100.config import Config
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import Split
from cifar100.data.loading.device_loader import DeviceLoader
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError
from cifar100.process.processors import processor_name, usable_processors
from cifar100.settings import load_config

COLUMNS_IN_A_PIPE = 100


def interleaved(contestants: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each of `repeats` rounds.

    Every contestant runs once in every round, and every other round goes backwards, so that a disturbance of the
    machine falls on all of them. A contestant returns when its work is done, on the device as well. Nothing is run to
    warm up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(repeats):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            started = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median, over the rounds, of the ratio within a round."""
    return median(above / below for above, below in zip(numerators, denominators, strict=True))


def this_device() -> torch.device:
    """Return the device that `train` would choose."""
    from cifar100.devices import choose_accelerator  # here, so that this module does not need Lightning

    return torch.device(choose_accelerator("auto"))


def describe_hardware() -> str:
    """Return processor, number of processors and threads, and the GPUs, in one line."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("Apple silicon (MPS)")
    cpu = f"{processor_name()}, {usable_processors()} processors, {torch.get_num_threads()} threads"
    return f"{cpu}; GPU: {', '.join(gpus) or 'none'}"


def today() -> str:
    """Return the date in UTC, such as 2026-11-24."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def package_version(package: str) -> str:
    """Return the version of an installed package, or `not installed`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe_versions(*packages: str) -> str:
    """Return the versions of Python, torch, Lightning and `packages`, in one line."""
    versions = [f"{name} {package_version(name)}" for name in ("cifar100", "torch", "lightning", *packages)]
    return ", ".join([f"Python {platform.python_version()}", *versions])


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[str], versions: str
) -> None:
    """Print the one table of a benchmark, under its title and above its notes, hardware, versions and date.

    As wide as the terminal; 100 columns in a pipe.
    """
    console = Console(width=None if sys.stdout.isatty() else COLUMNS_IN_A_PIPE, highlight=False, markup=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(f"{title}\n")
    console.print(table)
    last = f"Versions: {versions}. Date: {today()}"
    console.print("\n" + "\n".join([*notes, f"Hardware: {describe_hardware()}", last]))


def run_benchmark(main: Callable[[], int]) -> None:
    """Run a benchmark and exit with its status; a user's mistake is one line and status 2, as in `cifar100`."""
    try:
        status = main()
    except UserError as error:
        print(error, file=sys.stderr)
        status = 2
    sys.exit(status)


def data_settings(recipe: str, root: Path | None) -> dict[str, str]:
    """Return the settings of the data in `root`, or, without it, of those in the recipe's own folder.

    Raises:
        UserError: the folder is not prepared; the message says how to.
    """
    root = (root or load_config(recipe).data.root).absolute()
    origin = DataFolder(root).info().origin
    return {"data.root": str(root), "data.source": "generated" if origin == "generated" else "download"}


def packed_loader(config: Config, info: DatasetInfo, split: Split, device: torch.device) -> DeviceLoader:
    """Build the training batches of the `packed` pipeline on a device, as the data module does under a Trainer."""
    images, labels = DataFolder(config.data.root).load("train")
    mean, std = info.normalization
    return DeviceLoader(
        torch.from_numpy(images).to(device),
        torch.from_numpy(labels).to(device),
        EpochSampler(split.train, batch_size=config.data.images_per_step, training=True, seed=config.training.seed),
        mean=config.data.mean or mean,
        std=config.data.std or std,
        augmentation=config.augmentation,
        channels_last=config.training.channels_last,
    )
