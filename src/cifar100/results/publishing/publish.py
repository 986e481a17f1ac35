"""Publish a trained network: as a folder, or as a repository on the Hugging Face Hub. Read this first."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from cifar100.data.preparation.custom_source import NAMED_SOURCES
from cifar100.errors import UserError
from cifar100.files.atomic import json_text, write_atomically
from cifar100.files.new_folder import check_is_new, new_folder
from cifar100.files.user_paths import user_path
from cifar100.models import NetworkSource
from cifar100.results.calibration import saved_temperature, with_temperature
from cifar100.results.export.card import facts_of
from cifar100.results.export.export import export
from cifar100.results.exported.extra import need
from cifar100.results.exported.facts import Facts
from cifar100.results.publishing import hub
from cifar100.results.publishing.card import check_license, readme
from cifar100.results.publishing.hub_name import HubName, hub_name
from cifar100.results.report.facts import read_facts
from cifar100.results.saved_evaluation import load_evaluation
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained
from cifar100.settings import load_complete_config, load_config, to_dict, write_config
from cifar100.terminal import temporary_line

WEIGHTS_FILE, CONFIG_FILE, SETTINGS_FILE, CARD_FILE = (
    "model.safetensors",
    "config.json",
    "training_settings.yaml",
    "README.md",
)

PRIVATE_SETTINGS = (
    *("data.root", "data.exclude", "model.weights", "optimization.teacher"),
    *("training.mlflow_uri", "training.mlflow_experiment", "training.wandb_project"),
)
"""Settings that name files, servers and projects of whoever trained the network. Their defaults are published. So is
that of `data.source` if it is a path."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was published."""

    where: str
    """The folder, or the address on the Hub."""

    name: HubName | None
    """On the Hub; None for a folder."""

    files: Mapping[str, int]
    """Name and number of bytes of each file."""


def publish(
    run: RunFolder,
    *,
    to: str | PathLike[str],
    license_name: str | None = None,
    private: bool = False,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> Published:
    """Write the files of a network to a new folder, or upload them to the Hub.

    Both exports are checked against the network. They have the fitted temperature of the run if there is one.

    Args:
        run: the run folder.
        to: a new folder, or `hf:USER/NAME`.
        license_name: of the weights, as the Hub names it.
        private: whether a new repository is private.
        checkpoint: `best`, `last` or a path.
        network: see `load_trained`.

    Raises:
        UserError: a package, the run or the place cannot be used. Nothing was written.
    """
    name = hub_name(to)
    check_license(license_name)
    need("onnx", "onnxruntime", "onnxscript", "safetensors", to="publish")
    if name is None:
        if private:
            raise UserError("--private is for hf:USER/NAME; leave it out for a folder.")
        folder = user_path(to)
        check_is_new(folder, option="--to")
        with new_folder(folder, option="--to") as partial:
            files = write_files(run, partial, None, license_name=license_name, checkpoint=checkpoint, network=network)
        return Published(where=folder.as_posix(), name=None, files=files)
    hub.check_hub()
    hub.check_logged_in()
    with tempfile.TemporaryDirectory(prefix="cifar100-publish-") as temporary:
        folder = Path(temporary)
        files = write_files(run, folder, name, license_name=license_name, checkpoint=checkpoint, network=network)
        with temporary_line("uploading ..."):
            address = hub.upload(folder, name, private=private)
    return Published(where=address, name=name, files=files)


def write_files(
    run: RunFolder,
    folder: Path,
    name: HubName | None,
    *,
    license_name: str | None,
    checkpoint: str | PathLike[str],
    network: NetworkSource | None,
) -> dict[str, int]:
    """Write the files of a network to an empty folder. Returns their sizes. The arguments are those of `publish`."""
    trained = calibrated(run, load_trained(run, checkpoint, network=network, device=torch.device("cpu")))
    facts = facts_of(trained, run, precision="float32")
    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "calibrated": trained.temperature != 1,
        "network": network,
    }
    export(run, format="onnx", output=folder / hub.MODEL_FILE, **options)
    export(run, format="safetensors", output=folder / WEIGHTS_FILE, **options)
    write_atomically(folder / CONFIG_FILE, json_text(network_config(facts)).encode())
    _write_settings(run, folder / SETTINGS_FILE)
    evaluation = load_evaluation(run, "test") if "test" in facts.accuracies else None
    card = readme(facts, read_facts(run), evaluation, license_name=license_name, name=name)
    write_atomically(folder / CARD_FILE, card.encode())
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def calibrated(run: RunFolder, trained: TrainedNetwork) -> TrainedNetwork:
    """Return the network with its fitted temperature if it has one."""
    return with_temperature(trained, run) if saved_temperature(run, trained) else trained


def network_config(facts: Facts) -> dict[str, Any]:
    """Return the content of `config.json`: what other programs look for in such a file, and all our facts."""
    names = facts.info.class_names
    return {
        "architectures": [facts.network],
        "num_labels": len(names),
        "id2label": {str(label): name for label, name in enumerate(names)},
        "label2id": {name: label for label, name in enumerate(names)},
        "image_mean": facts.mean,
        "image_std": facts.std,
        "cifar100": facts.to_dict(),
    }


def _write_settings(run: RunFolder, path: Path) -> None:
    """Write the settings of the run without the names of files of this machine."""
    defaults, source = to_dict(load_config()), load_complete_config(run.config).data.source
    hidden = {}
    for setting in (*PRIVATE_SETTINGS, *(() if source in NAMED_SOURCES else ("data.source",))):
        section, _, key = setting.partition(".")
        hidden[setting] = defaults[section][key]
    config = load_complete_config(run.config, overrides=hidden)
    write_config(config, path, comment="all settings; paths are the defaults. Repeat it: cifar100 train --config FILE")
