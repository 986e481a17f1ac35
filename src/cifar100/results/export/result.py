"""What an export gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cifar100.results.exported.facts import Precision


@dataclass(frozen=True, kw_only=True)
class Int8Accuracy:
    """The accuracy of both precisions on the validation images, 0 to 1."""

    float32: float
    int8: float
    num_images: int

    @property
    def lost_points(self) -> float:
        """What int8 loses, in percentage points; negative if it gains."""
        return 100 * (self.float32 - self.int8)


@dataclass(frozen=True, kw_only=True)
class Export:
    """An exported file, and how it compares with the network."""

    path: Path
    format: str
    precision: Precision
    num_bytes: int

    largest_difference: float
    """Of a probability, between the file and the network, over `compared_on`."""

    difference_of_other_sizes: float | None
    """The same for enlarged and shrunk images, against Pillow's resizing; None for a file without a graph."""

    compared_on: str
    """Which images: their number, split and size."""

    int8_accuracy: Int8Accuracy | None
    """None for float32."""

    milliseconds_single: float
    """Median time of one of these images on the CPU."""

    milliseconds_batch: float
    """Of a batch of `batch_size` images."""

    batch_size: int
    runtime: str
    """The package that ran the file, with its version."""

    num_threads: int
