"""Measure an exported network on test images, with the metrics of `evaluate`, which need torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cifar100.data.packed_arrays import content_sha256
from cifar100.long_steps import progress
from cifar100.results.calibration import calibration
from cifar100.results.evaluate import BATCH_SIZE, Evaluation
from cifar100.results.evaluation_data import all_test_images
from cifar100.results.exported.onnx_network import ExportedNetwork
from cifar100.results.measures import class_measures, measure


def evaluate_exported(exported: ExportedNetwork, *, data_root: Path) -> Evaluation:
    """Measure an exported network on all test images of a data folder. Saves nothing.

    Its logits are the logarithms of its probabilities, which have the same softmax.

    Raises:
        UserError: the data are missing or have other classes, or the file cannot be run.
    """
    facts, info = exported.facts, exported.info
    images, labels, data = all_test_images(data_root, info)
    logits, truth = torch.from_numpy(_logits(exported, images)), torch.from_numpy(labels)
    return Evaluation(
        metrics=measure(logits, truth, num_classes=info.num_classes, class_to_superclass=info.class_to_superclass),
        run=exported.path.name,
        checkpoint=f"{facts.checkpoint} of {facts.run}, {facts.precision}",
        epoch=facts.epoch,
        averaged=facts.averaged,
        num_parameters=facts.num_parameters,
        data=data.describe(),
        split="test",
        num_images=len(labels),
        images_sha256=content_sha256(images, labels, data),
        per_class=class_measures(labels, logits.argmax(dim=1).numpy(), info.class_names),
        calibration=calibration(logits, truth),
    )


def _logits(exported: ExportedNetwork, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = []
    with progress("Evaluating", total=len(images), transient=True) as advance:
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            found.append(exported.probabilities(batch))
            advance(len(batch))
    logits: NDArray[np.float32] = np.log(np.maximum(np.concatenate(found), np.finfo(np.float32).tiny))
    return logits
