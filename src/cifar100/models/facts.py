"""What is known of the networks: paper, size, speed, published accuracy. Read from the source, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar100.config.yaml_text import parse_yaml
from cifar100.files.regular import read_text
from cifar100.models import networks

THROUGHPUT = Path(__file__).with_name("throughput.yaml")

MAX_BYTES = 2**16
"""Maximum size of the table of speeds; a line for each network."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A network with its default settings, 100 classes and images of 32x32 pixels."""

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


def throughput() -> dict[str, Any]:
    """Return what `benchmarks/training_throughput.py --yaml` has printed: `measured_on` and `images_per_second`."""
    content: dict[str, Any] = parse_yaml(read_text(THROUGHPUT, limit=MAX_BYTES))
    return content
