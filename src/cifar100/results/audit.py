"""Audit a data folder: look at every image, also with a trained network, and write the table and the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar100.data.audit.duplicates import (
    exact_duplicates,
    feature_candidates,
    hash_candidates,
    near_duplicates,
)
from cifar100.data.audit.findings import KINDS, Finding, duplicate_findings, label_findings, oddity_findings
from cifar100.data.audit.images import AuditedImages, ImageArray
from cifar100.data.audit.label_errors import label_suspects
from cifar100.data.audit.neighbours import nearest, unit_features
from cifar100.data.audit.oddities import odd_images, plain_oddities
from cifar100.data.audit.page import HASH_AND_FEATURES_SENTENCE, HASH_SENTENCE, ODD_SENTENCE, Methods, render_page
from cifar100.data.audit.table import write_table
from cifar100.data.dataset_info import IMAGE_SIDE, read_info
from cifar100.data.folder.csv_labels import records
from cifar100.data.folder.splits import load_split
from cifar100.data.given_images import BATCH_SIZE
from cifar100.errors import UserError
from cifar100.files.atomic import remove_partial_files, write_atomically, writing_below
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable
from cifar100.long_steps import progress
from cifar100.models import NetworkSource
from cifar100.results.evaluation_data import check_same_training_images, every_image
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained

TABLE, PAGE = "audit.csv", "audit.html"

NUM_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class NetworkView:
    """What trained networks say about the images of a data folder."""

    network: str
    """Which networks, as a phrase."""

    unseen_images: str
    """Which images the probabilities are of, as a phrase."""

    probabilities: NDArray[np.float32]
    """float32 (N, num_classes). Only rows of unseen images have a meaning."""

    is_unseen: NDArray[np.bool_]
    """bool (N,): the images whose probabilities are those of networks that were not trained on them."""

    features: Tensor | None
    """float32 (N, D); None for a network without features."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The result of an audit."""

    root: Path
    data: str
    num_train: int
    num_test: int
    counts: dict[str, int]
    """Number of findings of each kind."""

    labels: str
    """How label errors were looked for, and in which images; or what that needs."""

    table: Path
    page: Path


def audit_folder(
    root: Path,
    out: Path,
    *,
    run: RunFolder | None = None,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> AuditReport:
    """Audit a data folder and write `audit.csv` and `audit.html`.

    Args:
        root: data folder.
        out: folder to write to.
        run: a run that was trained on these data; None: without a network.
        checkpoint: see `load_trained`.
        network: see `load_trained`.

    Raises:
        UserError: the data or the run cannot be used, the run has seen all images, or `out` holds verdicts.
    """
    check_out(out)
    size = IMAGE_SIDE if run is None else read_info(run.dataset_info).image_size
    images = every_image(root, image_size=size)
    view = None if run is None else view_of_run(run, images, checkpoint=checkpoint, network=network)
    return write_audit(images, view, root=root, out=out)


def view_of_run(
    run: RunFolder, images: AuditedImages, *, checkpoint: str | PathLike[str], network: NetworkSource | None
) -> NetworkView:
    """Return what the network of a run says about all images; it has not seen its validation and the test images.

    Raises:
        UserError: the run cannot be loaded, was trained on other images, or has seen all of them.
    """
    trained = load_trained(run, checkpoint, network=network)
    check_same_training_images(trained, run, images.info)
    split = load_split(run.split)
    unseen = np.ones(len(images.labels), dtype=bool)
    unseen[split.train] = False
    if not unseen.any():
        raise UserError(
            f"{run.path} was trained on all training images, and the data have no test split, so it has seen "
            "every image; use a run with validation images, or --folds K."
        )
    logits, features = look(trained, images.pixels)
    counts = {"validation": len(split.validation), "excluded": len(split.excluded), "test": images.info.num_test}
    examined = " and ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return NetworkView(
        network=f"the network of {printable(run.name)}, epoch {trained.epoch}",
        unseen_images=f"the {examined} images",
        probabilities=logits.softmax(dim=1).numpy(),
        is_unseen=unseen,
        features=features,
    )


def look(
    trained: TrainedNetwork, pixels: ImageArray, places: NDArray[np.int64] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the logits, float32 (N, num_classes), and the features, float32 (N, D), of images. Shows its progress.

    Args:
        trained: the network. The features are None if it has none.
        pixels: uint8 (M, 3, S, S).
        places: int64 (N,), positions of the images to look at; None: all of them.
    """
    places = np.arange(len(pixels)) if places is None else places
    try:
        trained.features(torch.from_numpy(pixels[places[:1]]))
        has_features = True
    except UserError:
        has_features = False
    logits, features = [], []
    with progress("Asking the network", total=len(places)) as advance:
        for start in range(0, len(places), BATCH_SIZE):
            batch = torch.from_numpy(pixels[places[start : start + BATCH_SIZE]])
            if has_features:
                some, its_features = trained.logits_and_features(batch)
                features.append(its_features.cpu())
            else:
                some = trained.logits(batch)
            logits.append(some.cpu())
            advance(len(batch))
    return torch.cat(logits), torch.cat(features) if has_features else None


def write_audit(images: AuditedImages, view: NetworkView | None, *, root: Path, out: Path) -> AuditReport:
    """Find everything and write the table and the page.

    Args:
        images: the images.
        view: what networks say about them; None without a network.
        root: the data folder.
        out: folder to write to.
    """
    findings = find_all(images, view)
    table, page = out / TABLE, out / PAGE
    methods = _methods(view)
    command = f"cifar100 audit {as_argument(root)} --apply {as_argument(table)}"
    content = render_page(findings, images, methods, table=str(table), command=command)
    with writing_below(out):
        out.mkdir(parents=True, exist_ok=True)
        remove_partial_files(out)
        write_table(table, findings, images)
        write_atomically(page, content)
    return AuditReport(
        root=root,
        data=images.info.describe(),
        num_train=images.info.num_train,
        num_test=images.info.num_test,
        counts={kind: sum(finding.kind == kind for finding in findings) for kind in KINDS},
        labels=methods.labels,
        table=table,
        page=page,
    )


def find_all(images: AuditedImages, view: NetworkView | None) -> list[Finding]:
    """Return every finding: the kinds in the order of `KINDS`, the worst first within a kind."""
    exact = exact_duplicates(images.pixels)
    candidates = [hash_candidates(images.pixels)]
    suspects: list[Finding] = []
    oddities = list(plain_oddities(images.pixels))
    if view is not None:
        rows = np.flatnonzero(view.is_unseen)
        suspects = label_findings(label_suspects(images.labels[rows], view.probabilities[rows]), rows.tolist())
    if view is not None and view.features is not None:
        features = unit_features(view.features)
        with progress("Comparing features", total=len(features)) as advance:
            near, places = nearest(features, features, count=NUM_NEIGHBOURS, first_is_self=True, advance=advance)
        candidates.append(feature_candidates(images.pixels, near.numpy(), places.numpy()))
        oddities += odd_images(1 - near[:, -1].numpy()) if near.shape[1] else []
    pairs = near_duplicates(images.pixels, np.concatenate(candidates), exact=exact)
    return [
        *duplicate_findings("exact_duplicate", exact, images),
        *duplicate_findings("near_duplicate", pairs, images),
        *suspects,
        *oddity_findings(oddities),
    ]


def audit_name(root: Path) -> str:
    """Return `audit-` and the name of a data folder: the default folder of an audit, and how its runs' names begin."""
    name = re.sub(r"[^\w.-]", "_", root.resolve().name)
    return f"audit-{name[:60] or 'data'}"


def check_out(out: Path) -> None:
    """Refuse to write into a run, or to overwrite the work of a person.

    Raises:
        UserError: the folder is a run's, or its table has verdicts or is something else.
    """
    if RunFolder(out).config.is_file():
        raise UserError(f"{out} is the folder of a run; choose another, such as --out {as_argument(out / 'audit')}.")
    table = out / TABLE
    if not table.exists():
        return
    verdicts = sum(bool(fields["verdict"]) for _, fields in records(table, required=["verdict"]))
    if verdicts:
        raise UserError(f"{table} holds {verdicts:,} verdicts, which would be lost; rename it or choose another --out.")


def _methods(view: NetworkView | None) -> Methods:
    """Return how the findings were made."""
    if view is None:
        needs = "needs a network that has not seen the images: use --run RUN, or --folds K"
        return Methods(
            summary="Found without a network.",
            near_duplicates=HASH_SENTENCE,
            labels=f"Not examined: this {needs}.",
            odd="Images unlike all others were not searched for: this needs a network (--run or --folds).",
        )
    rest = "" if view.is_unseen.all() else " The other images were not examined: --folds K examines all."
    return Methods(
        summary=f"Found with {view.network}.",
        near_duplicates=HASH_SENTENCE if view.features is None else HASH_AND_FEATURES_SENTENCE,
        labels=(
            f"Confident learning (cleanlab) on the probabilities of {view.unseen_images}, from a network that has not "
            f"seen them. The score compares the suggested class with the label.{rest}"
        ),
        odd=ODD_SENTENCE if view.features is not None else "The network has no features that would show odd images.",
    )
