"""Answer a picture: the most probable classes, their superclass, and where the network looked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.image_files import read_content
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.results.exported.onnx_network import ExportedNetwork
from cifar100.results.report.activation_maps import activation_maps
from cifar100.results.report.measured import superclass_of
from cifar100.results.report.pictures import spotlit
from cifar100.results.report.rendering.inline import png_uri
from cifar100.runs.trained_network import TrainedNetwork

NUM_CLASSES = 5
"""Classes of an answer, or all if there are fewer."""

MAX_NAME = 60
"""Characters of the name of a class that are shown."""

Answer = dict[str, Any]
"""What the page gets as JSON."""

Answering = Callable[[bytes], Answer]


@dataclass(frozen=True)
class Answerer:
    """Classifies the content of an image file. Several threads may call it; they take turns."""

    network: TrainedNetwork | ExportedNetwork
    _turn: Lock = field(default_factory=Lock)

    def __call__(self, content: bytes) -> Answer:
        """Return the answer to an image file of any size and supported format.

        Raises:
            UserError: it is no image, or too large to read.
        """
        pixels = read_content(content, "this file", side=self.network.info.image_size)  # (S, S, 3)
        image = pixels.transpose(2, 0, 1)
        info = self.network.info
        with self._turn:  # the maps hook into the layers of the one network
            probabilities = np.asarray(self.network(image[None]))[0]
            labels = np.argsort(-probabilities, kind="stable")[:NUM_CLASSES]
            maps, problem = self._maps(image, labels)
        return {
            "seen": png_uri(pixels),
            "classes": [
                {
                    "name": printable(info.class_names[label], max_length=MAX_NAME),
                    "superclass": printable(superclass_of(info, label), max_length=MAX_NAME),
                    "probability": float(probabilities[label]),
                    "map": attention,
                }
                for label, attention in zip(labels.tolist(), maps, strict=True)
            ],
            "superclass": _superclass(probabilities, info),
            "problem": problem,
        }

    def _maps(self, image: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[list[str | None], str]:
        """Return the picture of each class's map, or None for each and why there are none."""
        nothing: list[str | None] = [None] * len(labels)
        if isinstance(self.network, ExportedNetwork):
            return nothing, "An exported file does not show where it looks; the run does."
        try:
            maps = activation_maps(self.network, np.repeat(image[None], len(labels), axis=0), labels).maps
        except UserError as error:
            return nothing, str(error)
        return [png_uri(spotlit(image, attention)) for attention in maps], ""


def _superclass(probabilities: NDArray[np.float32], info: DatasetInfo) -> dict[str, Any] | None:
    """Return the most probable superclass: the sum over its classes; None without superclasses."""
    if not info.class_to_superclass:
        return None
    sums = np.bincount(info.class_to_superclass, weights=probabilities, minlength=len(info.superclass_names))
    name = printable(info.superclass_names[sums.argmax()], max_length=MAX_NAME)
    return {"name": name, "probability": float(sums.max())}
