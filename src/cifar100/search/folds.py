"""Out-of-sample probabilities of every training image: K networks, each trained without one fold.

Each fold is an ordinary run, `logs/audit-<data folder>-fold<k>`: a finished one is used again, an interrupted one is
resumed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cifar100.config import Config
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.label_errors import check_cleanlab
from cifar100.data.folder.splits import load_split
from cifar100.devices import resolve
from cifar100.errors import UserError
from cifar100.process.launchers import launcher
from cifar100.results.audit import AuditReport, NetworkView, audit_name, check_out, look, write_audit
from cifar100.results.evaluation_data import every_image
from cifar100.results.saved_probabilities import save_probabilities
from cifar100.runs.folder import LOGS, RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.search.earlier import check_earlier, train_once
from cifar100.training.finetuning.initial_weights import with_native_input

PROBABILITIES = "probabilities.npz"


def audit_with_folds(config: Config, *, num_folds: int, out: Path) -> AuditReport:
    """Train a network without each fold, one after the other, and audit the data with them.

    Also writes `probabilities.npz`: probabilities float32 (N, num_classes) and labels int64 (N,) of the training
    images, then the test images. Those of a test image are the mean over all networks. The row of an image that was
    excluded is nan.

    Args:
        config: settings of the runs; `data.root` is the data folder.
        num_folds: number of folds.
        out: folder to write to.

    Raises:
        UserError: the data cannot be used, `out` holds verdicts, or a run of that name is of another training.
    """
    check_out(out)
    check_cleanlab()
    if config.data.num_folds is not None:
        raise UserError("--data.num_folds and --data.fold have no effect with --folds; leave them out.")
    if launcher() is not None:
        raise UserError("audit --folds starts its own training processes; run it without torchrun or srun.")
    config = with_native_input(config)
    images = every_image(config.data.root, image_size=config.data.side)
    source = "generated" if images.info.origin == "generated" else config.data.source
    configs = [
        resolve(replace(config, data=replace(config.data, source=source, num_folds=num_folds, fold=fold)))
        for fold in range(num_folds)
    ]
    name = audit_name(config.data.root)
    runs = [RunFolder(LOGS / f"{name}-fold{fold}") for fold in range(num_folds)]
    for run, of_fold in zip(runs, configs, strict=True):
        check_earlier(run, of_fold, images.info, move=f"rename or remove {LOGS}/{name}-fold*")
    for number, (run, of_fold) in enumerate(zip(runs, configs, strict=True), 1):
        train_once(of_fold, run, what=f"fold {number} of {num_folds}")
    view = view_of_folds(runs, images)
    probabilities = np.where(view.is_unseen[:, None], view.probabilities, np.float32(np.nan))
    save_probabilities(out / PROBABILITIES, probabilities, images.labels)
    return write_audit(images, view, root=config.data.root, out=out)


def view_of_folds(runs: list[RunFolder], images: AuditedImages) -> NetworkView:
    """Return what the networks say: of each training image the one that has not seen it, of the test images all.

    The features are those of the first network, of all images.
    """
    num_train, num_images = images.info.num_train, len(images.labels)
    probabilities = torch.zeros(num_images, images.info.num_classes)
    is_unseen = np.ones(num_images, dtype=bool)
    is_unseen[:num_train] = False
    features = None
    for fold, run in enumerate(runs):
        split = load_split(run.split)
        unseen = np.concatenate([split.validation, np.arange(num_train, num_images)])
        places = np.arange(num_images) if fold == 0 else unseen
        logits, some_features = look(load_trained(run, "best"), images.pixels, places)
        features = some_features if fold == 0 else features
        outcome = torch.zeros_like(probabilities)
        outcome[torch.from_numpy(places)] = logits.softmax(dim=1)
        held_out, test = torch.from_numpy(split.validation), slice(num_train, None)
        probabilities[held_out] = outcome[held_out]
        probabilities[test] += outcome[test] / len(runs)
        is_unseen[split.validation] = True
    return NetworkView(
        network=f"{len(runs)} networks, each trained without one fold ({runs[0].name} and the next)",
        unseen_images=f"all {int(is_unseen.sum()):,} images",
        probabilities=probabilities.numpy(),
        is_unseen=is_unseen,
        features=features,
    )
