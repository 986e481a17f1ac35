"""Out-of-sample probabilities of every training image: K networks, each trained without one fold.

Each fold is an ordinary run, `logs/audit-<data folder>-fold<k>`: a finished one is used again, an interrupted one is
resumed.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cifar100.config import Config, get, settings
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.label_errors import check_cleanlab
from cifar100.data.folder.layout import read_info
from cifar100.data.folder.splits import load_split
from cifar100.devices import resolve
from cifar100.errors import UserError
from cifar100.files.atomic import write_atomically, writing_below
from cifar100.process.launchers import launcher
from cifar100.results.audit import AuditReport, NetworkView, audit_name, check_out, look, write_audit
from cifar100.results.evaluation_data import every_image
from cifar100.runs.folder import LOGS, RunFolder
from cifar100.runs.status import FINISHED, read_status
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_complete_config
from cifar100.terminal import say
from cifar100.training.recovery.resuming import CHANGEABLE
from cifar100.training.train import resume_run, start_run

PROBABILITIES = "probabilities.npz"

_MAY_DIFFER = CHANGEABLE.keys() - {"training.max_epochs", "training.max_minutes"} | {"data.batch_size"}
"""Settings that may differ in a run of an earlier audit: they make no other network. The batch size depends on
`training.devices`, of which only the joint batch counts."""


def audit_with_folds(config: Config, *, num_folds: int, out: Path) -> AuditReport:
    """Train a network without each fold, one after the other, and audit the data with them.

    Also writes `probabilities.npz`: probabilities float32 (N, num_classes) and labels int64 (N,) of the training
    images, then the test images. Those of a test image are the mean over all networks.

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
        raise UserError("audit --folds starts a run for each fold itself; start it without torchrun and srun.")
    images = every_image(config.data.root, image_size=config.data.image_size)
    source = "generated" if images.info.origin == "generated" else config.data.source
    configs = [
        resolve(replace(config, data=replace(config.data, source=source, num_folds=num_folds, fold=fold)))
        for fold in range(num_folds)
    ]
    for fold, of_fold in enumerate(configs):
        _check_earlier(RunFolder(LOGS / _name(of_fold, fold)), of_fold, images)
    runs = [train_fold(of_fold, fold) for fold, of_fold in enumerate(configs)]
    view = view_of_folds(runs, images)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, probabilities=view.probabilities, labels=images.labels)
    with writing_below(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / PROBABILITIES, arrays.getvalue())
    return write_audit(images, view, root=config.data.root, out=out)


def train_fold(config: Config, fold: int) -> RunFolder:
    """Train without one fold, unless an earlier audit has; resume what it has begun. Returns the finished run."""
    run = RunFolder(LOGS / _name(config, fold))
    if not run.config.is_file():
        say(f"fold {fold + 1} of {config.data.num_folds}")
        return start_run(config, experiment=run.name)
    if read_status(run).get("status") == FINISHED:
        say(f"fold {fold + 1} of {config.data.num_folds}: {run.path} is finished")
        return run
    say(f"fold {fold + 1} of {config.data.num_folds}: resuming {run.path}")
    return resume_run(run)


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
        logits, some_features = look(load_trained(run, "best"), images.pixels[places])
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


def _name(config: Config, fold: int) -> str:
    return f"{audit_name(config.data.root)}-fold{fold}"


def _check_earlier(run: RunFolder, config: Config, images: AuditedImages) -> None:
    """Refuse a run of an earlier audit that was trained otherwise, before anything is trained."""
    if not run.config.is_file():
        return
    move = f"rename or remove {LOGS}/{audit_name(config.data.root)}-fold*"
    if read_info(run.dataset_info).sha256.get("train") != images.info.sha256.get("train"):
        raise UserError(f"{run.path} was trained on other images than those to be audited; {move}.")
    before = load_complete_config(run.config)
    given = [name for name in settings() if name not in _MAY_DIFFER]
    if config.optimization.learning_rate == "auto":
        given.remove("optimization.learning_rate")  # a finished run names the one that it found
    for name in given:
        if get(before, name) != get(config, name):
            raise UserError(
                f"{run.path} was trained with --{name} {get(before, name)}, but {get(config, name)} is asked for; give "
                f"the same, or {move}."
            )
