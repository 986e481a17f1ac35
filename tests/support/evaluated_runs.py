"""Run folders as `train` and `evaluate` leave them, without training: chosen predictions on chosen images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from trained_networks import INFO

from cifar100.data.dataset_info import write_info
from cifar100.data.folder.splits import Split, save_split
from cifar100.results.measures import fraction
from cifar100.results.saved_evaluation import save_evaluation
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config, write_config

NUM_CLASSES = 6


def write_evaluated(
    name: str,
    is_right: Sequence[bool],
    *,
    split: str = "test",
    settings: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Write `logs/<name>`, a run that was evaluated.

    Args:
        name: of the experiment.
        is_right: whether each image is recognised. Its label is its position modulo 6.
        split: the images.
        settings: overrides of the recipe quickstart.
        changes: entries of the saved evaluation to replace.
    """
    run = RunFolder(Path("logs") / name)
    run.path.mkdir(parents=True)
    write_config(load_config("quickstart", overrides=settings or {}), run.config, comment="written by a test")
    write_info(INFO, run.dataset_info)
    save_split(Split(train=np.arange(40), validation=np.arange(40, 60)), run.split)
    epochs = [{"epoch": 1, "seconds": 60.5}, {"epoch": 2, "seconds": 59.5}]
    run.metrics.write_text(json.dumps({"finished": True, "best": None, "epochs": epochs}))
    labels = torch.arange(len(is_right)) % NUM_CLASSES
    predicted = torch.where(torch.tensor(is_right), labels, (labels + 1) % NUM_CLASSES)
    figure = fraction(sum(is_right), len(is_right))
    content = {
        "metrics": {"accuracy": {"value": figure.value, "interval": figure.interval, "num_images": len(is_right)}},
        "per_class": {},
        "split": split,
        "data": "Six things",
        "images_sha256": "0" * 64,
        "num_images": len(is_right),
        "checkpoint": f"{run.path}/best.ckpt",
        "epoch": 2,
        "averaged": False,
        "num_parameters": 2_524_984,
    }
    logits = F.one_hot(predicted, NUM_CLASSES).float()
    save_evaluation({**content, **(changes or {})}, run, split=split, logits=logits, labels=labels)
    return run


def right(number: int, *, of: int = 600, first: int = 0) -> list[bool]:
    """Return `of` images, of which `number` are recognised, beginning with image `first`."""
    return [first <= position < first + number for position in range(of)]
