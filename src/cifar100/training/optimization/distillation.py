"""Knowledge distillation: a network learns from the probabilities of another one, its teacher, as well as from labels.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.splits import Split, load_split
from cifar100.data.image_batches import fit, normalize
from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.files.checksums import file_sha256
from cifar100.files.schema import fields, read_as, text
from cifar100.runs.folder import find_run_folder
from cifar100.runs.trained_network import load_trained

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Teacher:
    """A trained network that is only asked. No module, so that it is neither trained nor saved with the run."""

    run: str
    checkpoint: Path
    sha256: str
    network: nn.Module
    """In evaluation mode; takes images as the run normalises them."""

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W). Returns float (N, num_classes)."""
        logits: Tensor = self.network.to(images.device)(images)  # moves only the first time
        return logits


class _AsTrained(nn.Module):
    """From the images of a run to those of its teacher's training: another normalisation, and side x side pixels.

    given, wanted: mean and standard deviation of the channels.
    """

    def __init__(self, given: tuple[Triple, Triple], wanted: tuple[Triple, Triple], *, side: int) -> None:
        super().__init__()
        (mean, std), (wanted_mean, wanted_std) = (torch.tensor(pair).view(2, 3, 1, 1) for pair in (given, wanted))
        self.side = side
        self.register_buffer("scale", std / wanted_std)
        self.register_buffer("shift", (mean - wanted_mean) / wanted_std)
        self.register_buffer("given", torch.stack([mean, std]) * 255)
        self.register_buffer("wanted", torch.tensor(wanted))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2:] == (self.side, self.side):
            return torch.addcmul(self.get_buffer("shift"), images, self.get_buffer("scale"))
        mean, std = self.get_buffer("given")
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would round to whole levels
            levels = fit(torch.addcmul(mean, images.float(), std), self.side, rounded=False)
        return normalize(levels, *self.get_buffer("wanted"))


def load_teacher(name: str, info: DatasetInfo, split: Split, *, mean: Triple, std: Triple) -> Teacher:
    """Load the best weights of a run.

    The teacher gets images of the size that it was trained with, whatever that of a batch is: with progressive resizing
    a batch can be smaller than any image that it knows.

    Args:
        name: a run folder, or a name below `logs/`.
        info: the data of the run that will learn.
        split: its training and validation images.
        mean: of its normalisation; std likewise.

    Raises:
        UserError: there is no such run, it was trained on other data, or it has learned from images that the new run
            holds out for validation.
    """
    run = find_run_folder(name)
    trained = load_trained(run, "best", device=torch.device("cpu"))
    if trained.info.image_size != info.image_size:
        raise UserError(
            f"--optimization.teacher {name} was trained on images of {_shown(trained.info)} pixels, but the images of "
            f"this run have {_shown(info)}; train both runs with the same --data.image_size."
        )
    if (trained.info.class_names, trained.info.sha256.get("train")) != (info.class_names, info.sha256.get("train")):
        raise UserError(
            f"--optimization.teacher {name} was trained on other data ({trained.info.describe()}) than this run's "
            f"({info.describe()}); choose a teacher that was trained on the same classes and images."
        )
    seen = np.intersect1d(split.validation, load_split(run.split).train)
    if len(seen):
        raise UserError(
            f"--optimization.teacher {name} was trained on {len(seen):,} of the {len(split.validation):,} images that "
            "this run holds out for validation, which would inflate its accuracy; train both runs with the same "
            "--data.validation_fraction and --data.split_seed, or this one with --data.validation_fraction 0."
        )
    sha256 = file_sha256(trained.checkpoint)
    first = _AsTrained((mean, std), trained.normalization, side=trained.config.data.side)
    network = nn.Sequential(first, trained.network)
    return Teacher(
        run=run.name,
        checkpoint=trained.checkpoint,
        sha256=sha256,
        network=network.eval().requires_grad_(requires_grad=False),
    )


def _shown(info: DatasetInfo) -> str:
    return f"{info.image_size}x{info.image_size}"


def distillation_loss(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence of the network's probabilities from the teacher's, times temperature^2.

    The factor makes its gradients as large as those of the cross-entropy, whatever the temperature.

    logits, teacher_logits: float (N, num_classes). Returns a scalar, the mean over the images, in nats.
    """
    own = F.log_softmax(logits / temperature, dim=1)
    its = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(own, its, log_target=True, reduction="batchmean") * temperature**2


def remember_teacher(teacher: Teacher, path: Path) -> None:
    """Write which weights a run learns from; when it is resumed, check that they are still the same.

    Raises:
        UserError: they are not.
    """
    if os.path.lexists(path):
        if _known_sha256(path) != teacher.sha256:
            raise UserError(
                f"the teacher has changed since this run started: the sha256 of {teacher.checkpoint} is not the one in "
                f"{path}; restore the old weights, or start another run."
            )
        return
    write_json({"run": teacher.run, "checkpoint": teacher.checkpoint.as_posix(), "sha256": teacher.sha256}, path)


def _known_sha256(path: Path) -> str | None:
    try:
        sha256: str = read_as(path, fields({"sha256": text}), limit=100_000)["sha256"]
    except (OSError, ValueError):  # damaged
        return None
    return sha256
