"""Whether runs are of one start: the mean of weights of different starts is useless.

Runs are of one start if they began with the same random parameters or the same trained weights, or if one began with
the weights of the other. The classifier may differ: fine-tuning replaces one for other classes by a random one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cifar100.config import Config
from cifar100.data.dataset_info import read_info
from cifar100.errors import UserError
from cifar100.files.checksums import known_sums
from cifar100.files.schema import fields, nothing_or, read_as, text
from cifar100.foreign_text import printable, reason
from cifar100.models import NetworkSource, make_network
from cifar100.runs.advice import usual_split
from cifar100.runs.folder import RunFolder

PART_OF_START = ("weights", "pretrained", "freeze", "cache_features")
"""Settings of `model` that choose where a training begins and what it changes, not the architecture."""


@dataclass(frozen=True, kw_only=True)
class _Start:
    run: RunFolder
    config: Config
    source: str | None
    """The file or the program of the trained weights; None: random parameters."""

    sha256: str | None
    """Of the file."""

    @property
    def words(self) -> str:
        if self.source is None:
            return f"random ones of training.seed {self.config.training.seed}"
        return printable(self.source)


def check_one_start(runs: Sequence[RunFolder], configs: Sequence[Config], network: NetworkSource | None) -> None:
    """Refuse runs of different starts.

    Args:
        runs: their folders, of one architecture.
        configs: their settings.
        network: see `load_trained`. The random parameters of a module cannot be made again and are not compared.

    Raises:
        UserError: names the first two runs that differ.
    """
    first, *others = [_start(run, config) for run, config in zip(runs, configs, strict=True)]
    for other in others:
        difference = _difference(first, other, network)
        if difference:
            raise UserError(
                f"{first.run.argument} and {other.run.argument} did not start from the same weights ({difference}), "
                f"expected runs of one start or of one training. {ensemble_command(runs)}"
            )


def ensemble_command(runs: Sequence[RunFolder]) -> str:
    """Return the sentence that names what can be done instead."""
    split = "" if usual_split(read_info(runs[0].dataset_info)) == "test" else " --split validation"
    return f"Use their ensemble instead: cifar100 evaluate {' '.join(run.argument for run in runs)} --ensemble{split}"


def _start(run: RunFolder, config: Config) -> _Start:
    """Read where the first weights of a run came from.

    Raises:
        UserError: the file that says so is damaged.
    """
    try:
        origin = read_as(run.initial_weights, _ORIGIN)
    except FileNotFoundError:
        model = config.model
        published = f"{model.name}, published by timm" if model.pretrained else None
        source = published if model.weights is None else model.weights.as_posix()
        return _Start(run=run, config=config, source=source, sha256=None)
    except (OSError, ValueError) as error:
        raise UserError(f"{run.initial_weights} cannot be read ({reason(error)}); restore it.") from error
    return _Start(run=run, config=config, source=origin["source"], sha256=origin["sha256"])


_ORIGIN = fields({"source": text, "sha256": nothing_or(text)})


def _difference(one: _Start, other: _Start, network: NetworkSource | None) -> str:
    """Return how two starts differ; empty if they are one."""
    if one.source is None and other.source is None:
        return "" if isinstance(network, nn.Module) else _random_difference(one, other, network)
    if one.source is not None and (one.sha256 or one.source) == (other.sha256 or other.source):
        return ""
    if _is_from(one, other.run) or _is_from(other, one.run):
        return ""
    return f"{one.words}, and {other.words}"


def _is_from(start: _Start, run: RunFolder) -> bool:
    """Return whether a run began with a checkpoint of another, which may have been moved or trained on since."""
    if start.source is None or start.sha256 is None:
        return False
    if Path(start.source).absolute().is_relative_to(run.path.absolute()):
        return True
    return any(start.sha256 in known_sums(path) for path in run.checkpoints.glob("*.ckpt"))


def _random_difference(one: _Start, other: _Start, network: NetworkSource | None) -> str:
    """Compare the random parameters: how many differ depends on the network."""
    first, second = (_initial_weights(start, network) for start in (one, other))
    different = sum(int((value != second[name]).sum()) for name, value in first.items())
    if not different:
        return ""
    total = sum(value.numel() for value in first.values())
    seeds = f"training.seed {one.config.training.seed} and {other.config.training.seed}"
    return f"{different:,} of {total:,} differed, {seeds}"


def _initial_weights(start: _Start, network: NetworkSource | None) -> dict[str, Tensor]:
    """Return the parameters with which a run began: training makes its network right after this seed."""
    num_classes = read_info(start.run.dataset_info).num_classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start.config.training.seed)
        made = make_network(network, start.config.model, num_classes)
    return {name: value.detach() for name, value in made.named_parameters()}
