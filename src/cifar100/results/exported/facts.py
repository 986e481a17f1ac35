"""The facts in the metadata of an exported file: JSON that tells what the network is and what its outputs mean."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cifar100.data.dataset_info import IMAGE_SIDE, MAX_IMAGE_SIDE, DatasetInfo, Triple, parse_info
from cifar100.files.atomic import json_text
from cifar100.files.regular import MAX_JSON_BYTES
from cifar100.files.schema import boolean, fields, list_of, map_of, number, one_of, text, whole

KEY = "cifar100"
"""Key of the facts in a file's metadata."""

CARD_KEY = "model_card"
"""Key of the model card, Markdown."""

FORMAT = 1
"""Version of the facts; raised when an older program could misread them."""

MAX_TEMPERATURE = 100.0
"""Of temperature scaling. Its minimum is the reciprocal: 0 would give no probabilities."""

Precision = Literal["float32", "int8"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an exported file says about its network."""

    info: DatasetInfo
    """Of the training data: class names, superclasses, identity."""

    run: str
    network: str
    """Its name in the settings, or the name of its Python class."""

    model_settings: dict[str, Any]
    """Settings of the network; empty for a custom one."""

    num_parameters: int
    checkpoint: str
    epoch: int
    averaged: bool
    """These three name the weights; see `TrainedNetwork`."""

    image_size: int = IMAGE_SIDE
    """Side in pixels of what the network gets: images of `info.image_size` are scaled to it."""

    mean: Triple
    std: Triple
    """Normalisation inside the network, pixels in 0..1."""

    temperature: float
    """Divides the logits; 1: as trained."""

    precision: Precision
    versions: dict[str, str]
    """Of the packages that wrote the file."""

    accuracies: dict[str, dict[str, Any]]
    """`validation` and `test`, as far as `evaluate` has saved them for these weights: value, interval, num_images."""

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {"format": FORMAT, **asdict(self)}

    def to_json(self) -> str:
        """Return the text that `parse_facts` reads."""
        return json_text(self.to_dict())


def parse_facts(content: str) -> Facts:
    """Return the facts in a text from a file.

    Raises:
        ValueError: it is no JSON, or does not fit.
    """
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"its metadata have {len(content):,} characters, expected at most {MAX_JSON_BYTES:,}")
    try:
        found = json.loads(content, parse_constant=lambda name: None)
    except RecursionError as error:
        raise ValueError("its metadata are nested too deeply") from error
    _FACTS(found, "it")
    info = parse_info(found["info"])
    values = {name: found[name] for name in Facts.__dataclass_fields__ if name in found}
    return Facts(**(values | {"info": info, "mean": tuple(found["mean"]), "std": tuple(found["std"])}))


_FACTS = fields(
    {
        "format": one_of(FORMAT),
        "info": fields({}),
        "run": text,
        "network": text,
        "model_settings": fields({}),
        "num_parameters": whole(),
        "checkpoint": text,
        "epoch": whole(),
        "averaged": boolean,
        "mean": list_of(number(), length=3),
        "std": list_of(number(), length=3),
        "temperature": number(1 / MAX_TEMPERATURE, MAX_TEMPERATURE),
        "precision": one_of("float32", "int8"),
        "versions": map_of(text),
        "accuracies": map_of(
            fields({"value": number(0, 1), "interval": list_of(number(0, 1), length=2), "num_images": whole(1)})
        ),
    },
    optional={"image_size": whole(1, MAX_IMAGE_SIDE)},
)
