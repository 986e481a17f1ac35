"""Run folders with an evaluation that was never measured: any classes, logits and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from trained_networks import INFO, ColourNetwork, stub, write_run

from cifar100.data.dataset_info import DatasetInfo
from cifar100.results.evaluate import describe
from cifar100.results.saved_evaluation import save_evaluation
from cifar100.runs.folder import RunFolder

HOSTILE_NAMES = (
    "<script>document.title='owned'</script>",
    'b" onmouseover="document.title=1" x="',
    "{{ 7 * 7 }}",
    "d\u202e$x$_1",
    "</script><img src=x onerror=document.title=2>",
    "e" * 300,
)


def info_of(class_names: Sequence[str], **changes: Any) -> DatasetInfo:
    """Return the description of data with these classes and no superclasses."""
    without = {"superclass_names": (), "class_to_superclass": (), **changes}
    return replace(INFO, class_names=tuple(class_names), **without)


def save_measurement(
    run: RunFolder, info: DatasetInfo, logits: Tensor, labels: Tensor, *, split: str = "test", **changes: Any
) -> None:
    """Write the evaluation of these logits into a run. changes: entries of the JSON file."""
    trained = replace(stub(nn.Identity(), info=info), epoch=5)
    with patch("cifar100.results.measures.NUM_RESAMPLES", 9):  # the intervals are not looked at
        evaluation = describe(logits, labels, trained, run=run, split=split, images_sha256="none")
    save_evaluation({**asdict(evaluation), **changes}, run, split=split, logits=logits, labels=labels)


def measured_run(path: Path, info: DatasetInfo, *, num_images: int = 120, data_root: Path | None = None) -> RunFolder:
    """Write a run of a network without convolutions, measured on images that are nowhere."""
    run = write_run(path, ColourNetwork(info.num_classes), info=info, data_root=data_root)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_images) % info.num_classes
    logits = torch.randn(num_images, info.num_classes, generator=generator)
    logits[torch.arange(num_images), labels] += 1.5
    save_measurement(run, info, logits, labels)
    return run
