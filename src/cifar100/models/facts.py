"""What is known of the networks: paper, size, speed, published accuracy. Read from the source, without torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar100.config import ModelConfig
from cifar100.config.shown_values import shown
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError
from cifar100.files.regular import read_text
from cifar100.long_steps import progress
from cifar100.models import build_model, networks
from cifar100.terminal import can_redraw, temporary_line

THROUGHPUT = Path(__file__).with_name("throughput.yaml")

MAX_BYTES = 2**16
"""Maximum size of the table of speeds; a line for each network."""


MAX_TIMM = 40
"""Networks of timm in one list; each takes about a quarter of a second to build and count."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A network with its default settings and 100 classes."""

    name: str
    """Value of `model.name`."""

    paper: str = ""
    """Authors and year."""

    parameters: int | None = None
    """Number of parameters, frozen ones included. None if the network's file does not state it."""

    mult_adds: int | None = None
    """Multiply-adds of a forward pass of one image. None as for `parameters`."""

    accuracy: float | None = None
    """Published CIFAR-100 test accuracy, 0 to 1. None if the literature gives no figure for this network."""

    accuracy_source: str = ""
    """Where the accuracy is published: a table of `paper`, or another paper and its table."""

    images_per_second: float | None = None
    """Training speed: forward, backward and optimizer step. None if not yet measured."""

    measured_on: str = ""
    """Hardware, precision and date of that measurement."""

    image_side: int = 32
    """Side in pixels of the image whose multiply-adds are given: that of a timm network's own images."""

    is_pretrained: bool = False
    """Whether timm publishes weights for `model.pretrained`."""


def model_facts() -> list[ModelFacts]:
    """Return the facts of every network, in the order of `--model.name`."""
    measured = throughput()
    speeds, measured_on = measured["images_per_second"], measured["measured_on"]
    return [
        ModelFacts(
            name=name,
            images_per_second=speeds.get(name),
            measured_on=measured_on if name in speeds else "",
            **component.facts,
        )
        for name, component in networks().items()
    ]


def timm_facts(pattern: str) -> list[ModelFacts]:
    """Return the facts of timm's networks that match a pattern such as `timm/*lite*`, with their own image size.

    Raises:
        UserError: the pattern matches no network or too many, or timm is not installed.
    """
    if not pattern.startswith("timm/"):
        raise UserError(f"the pattern is {shown(pattern)}, but it must begin with timm/, as in timm/*lite*")
    from cifar100.models.timm_networks import list_networks

    with temporary_line("loading timm ..."):
        names = list_networks(pattern)
    if not names:
        raise UserError(f"timm has no network like {shown(pattern)}; use a wider pattern, such as timm/*lite*")
    if len(names) > MAX_TIMM:
        raise UserError(
            f"timm has {len(names):,} networks like {shown(pattern)}, but at most {MAX_TIMM:,} can be listed at once; "
            "use a narrower pattern, such as timm/resnet18*"
        )
    found = []
    with progress("Building networks", total=len(names), silent=not can_redraw(sys.stderr)) as advance:
        for name in names:
            found.append(_timm_facts(name))
            advance(1)
    return found


def _timm_facts(name: str) -> ModelFacts:
    import torch

    from cifar100.models.summary import count_parameters, mult_adds
    from cifar100.models.timm_networks import native_input

    native = native_input(name)
    with torch.random.fork_rng(devices=[]):
        network = build_model(ModelConfig(name=name), 100)
    return ModelFacts(
        name=name,
        parameters=count_parameters(network),
        mult_adds=mult_adds(network, image_shape=(3, native.side, native.side)),
        image_side=native.side,
        is_pretrained=native.is_published,
    )


def throughput() -> dict[str, Any]:
    """Return what `benchmarks/training_throughput.py --yaml` has printed: `measured_on` and `images_per_second`."""
    content: dict[str, Any] = parse_yaml(read_text(THROUGHPUT, limit=MAX_BYTES))
    return content
