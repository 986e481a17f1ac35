"""Decide on `data.batch_size auto`: the largest batch that fits, and the learning rate that belongs to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cifar100.config import Config
from cifar100.devices import choose_accelerator
from cifar100.errors import UserError
from cifar100.process.memory import bytes_text
from cifar100.settings import load_config, recipe_names
from cifar100.terminal import say
from cifar100.training.cost.out_of_memory import is_out_of_memory
from cifar100.training.cost.step_memory import StepMemory, measure_step_memory, usable_memory
from cifar100.training.cost.trial import Subject, Trial
from cifar100.training.preflight.resources import check_memory

MIN_STEPS_PER_EPOCH = 20
"""A batch leaves at least this many optimizer steps in an epoch, whatever memory there is: fewer train worse."""

SMALLEST = 2
"""Batch normalisation needs two images."""

RULES = {
    "sgd": (1.0, "linear rule, Goyal et al., 2017"),
    "adamw": (0.5, "square-root rule, Krizhevsky, 2014"),
    "muon": (0.5, "square-root rule, Krizhevsky, 2014"),
}
"""Optimizer -> the power of the batch size that multiplies its learning rate, and the name of the rule."""


def with_batch_size(subject: Subject) -> tuple[Config, list[str]]:
    """Return the settings with a number instead of `data.batch_size auto`, and what was decided, as lines.

    Raises:
        UserError: not even two images fit, or the memory cannot be measured here.
    """
    config, split = subject.config, subject.split
    assert split is not None, "a custom data module makes its own batches"
    device = torch.device(choose_accelerator(config.training.accelerator))
    most = max(SMALLEST, len(split.train) // (MIN_STEPS_PER_EPOCH * config.training.num_processes))
    smallest = subject.with_batch_size(SMALLEST).config
    if subject.parts.network is None:
        check_memory(smallest, subject.info.num_classes, num_train=len(split.train), accelerator=device.type)
    available = usable_memory(device, processes=config.training.processes_here)
    memory = measure_step_memory(subject, device, largest=most)
    fitting = most if available is None else memory.largest_batch(available)
    if fitting < SMALLEST:
        raise UserError(
            f"--data.batch_size auto: a step of {SMALLEST} images needs about "
            f"{bytes_text(memory.needed(SMALLEST))}, but {bytes_text(available or 0)} are free ({device.type}); choose "
            "a smaller network, or close other programs."
        )
    images = _confirmed(subject, _power_of_two(min(fitting, most)), device)
    config = replace(config, data=replace(config.data, batch_size=images))
    return with_learning_rate(config, _reason(memory, images, fitting, most, available))


def resolve_batch_size(subject: Subject) -> Config:
    """Do the same if the batch size is `auto`, and print what was decided."""
    if subject.config.data.batch_size != "auto":
        return subject.config
    config, lines = with_batch_size(subject)
    for line in lines:
        say(line)
    return config


def _power_of_two(images: int) -> int:
    """Return the largest power of two that is not larger."""
    return 1 << (images.bit_length() - 1)


def _confirmed(subject: Subject, images: int, device: torch.device) -> int:
    """Take a step of that size on a GPU, and halve the size until there is memory for one.

    The size comes from smaller steps, and cuDNN chooses other algorithms for larger ones. On a CPU a step that is too
    large ends the process, and a large step takes long.
    """
    while device.type == "cuda" and images > SMALLEST:
        try:
            Trial(subject.with_batch_size(images), device=device).step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return images
        images //= 2
        torch.cuda.empty_cache()
    return images


def _reason(memory: StepMemory, images: int, fitting: int, most: int, available: float | None) -> str:
    fraction = "" if available is None else f" of {bytes_text(available)} that it may take"
    because = f"the largest power of two that fits, about {bytes_text(memory.needed(images))}{fraction}"
    if fitting > most:
        because = f"memory would hold more, but an epoch keeps {MIN_STEPS_PER_EPOCH} steps"
    return f"--data.batch_size auto: {images:,} images ({because})"


def with_learning_rate(config: Config, line: str) -> tuple[Config, list[str]]:
    """Scale the learning rates of the recipe from its batch size to that of the run."""
    optimization = config.optimization
    base = load_config(config.recipe) if config.recipe in recipe_names() else Config()
    before = base.data.images_per_step * base.training.num_processes
    images = config.data.images_per_step * config.training.num_processes
    if optimization.learning_rate == "auto":
        return config, [line, "--optimization.learning_rate auto: the range test takes batches of this size"]
    names = ["learning_rate", *(["muon_learning_rate"] if optimization.optimizer == "muon" else [])]
    if any(getattr(optimization, name) != getattr(base.optimization, name) for name in ("optimizer", *names)):
        return config, [line, f"--optimization.learning_rate {optimization.learning_rate:g}: given by hand, not scaled"]
    power, rule = RULES[optimization.optimizer]
    factor = (images / before) ** power
    scaled: dict[str, Any] = {name: float(f"{getattr(optimization, name) * factor:.4g}") for name in names}
    told = [
        f"--optimization.{name}: {getattr(optimization, name):g} for {before:,} images -> {rate:g} for {images:,} "
        f"({rule})"
        for name, rate in scaled.items()
    ]
    return replace(config, optimization=replace(optimization, **scaled)), [line, *told]
