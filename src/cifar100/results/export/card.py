"""The facts and the model card of a run, for the metadata of its exports."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from cifar100 import __version__
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.models import network_named
from cifar100.models.summary import count_parameters
from cifar100.results.exported.facts import Facts, Precision
from cifar100.results.saved_evaluation import load_evaluation
from cifar100.runs.combined import read_combined
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.terminal import warn

_TORCHVISION = {"resnet18", "resnet34", "resnet50"}


def facts_of(trained: TrainedNetwork, run: RunFolder, *, precision: Precision) -> Facts:
    """Return what an export says about a network. It names no path of this machine."""
    custom, combined = read_parts(run).get("network"), read_combined(run)
    model = trained.config.model
    known = () if custom else network_named(model.name).settings
    settings = {entry.name: getattr(model, entry.name) for entry in known}
    mean, std = trained.normalization
    return Facts(
        info=trained.info,
        run=run.name if combined is None else f"{run.name}, an {combined.label} ({combined.names})",
        network=custom or model.name,
        model_settings={name: value for name, value in settings.items() if value is not None},
        num_parameters=count_parameters(trained.network),
        checkpoint=trained.checkpoint.name,
        epoch=trained.epoch,
        averaged=trained.averaged,
        image_size=trained.config.data.side,
        mean=mean,
        std=std,
        temperature=trained.temperature,
        precision=precision,
        versions={"cifar100": __version__, "torch": metadata.version("torch")},
        accuracies=_accuracies(trained, run),
    )


def _accuracies(trained: TrainedNetwork, run: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the accuracies that `evaluate` has saved for these weights on the images of the run, by split."""
    found = {}
    for split in ("validation", "test"):
        try:
            saved = load_evaluation(run, split)
        except UserError as error:  # the card has one line less
            warn(str(error))
            continue
        if saved is None or saved.is_of_other_data(trained.info):
            continue
        if trained.weights.are_those_of(saved.content):
            found[split] = saved.content["metrics"]["accuracy"]
    return found


def model_card(facts: Facts) -> str:
    """Return the model card as Markdown."""
    info = facts.info
    settings = ", ".join(f"{name} {value}" for name, value in facts.model_settings.items())
    accuracies = [
        f"- Accuracy on {found['num_images']:,} {split} images, float32: {found['value']:.2%}, 95 % interval "
        f"{found['interval'][0]:.2%} to {found['interval'][1]:.2%}"
        for split, found in facts.accuracies.items()
    ]
    enlarged = "" if facts.image_size == info.image_size else f"that is scaled to {facts.image_size} pixels; "
    lines = [
        f"# {facts.network}, trained on {info.name}",
        "",
        f"- Network: {facts.network}" + (f" ({settings})" if settings else ""),
        f"- Parameters: {facts.num_parameters:,}, {facts.precision}",
        f"- Weights: {facts.checkpoint} of run {facts.run}, epoch {facts.epoch}" + ", averaged" * facts.averaged,
        f"- Training data: {info.describe()}; {info.num_train:,} images, sha256 {info.sha256.get('train', 'unknown')}",
        *(accuracies or ["- Accuracy: not measured"]),
        f"- Classes: {len(info.class_names):,}. The network assigns every image to one of them, whatever it shows.",
        f"- Input: RGB. The shorter side is scaled to {info.image_size} pixels (bicubic, as Pillow) and the centre "
        f"cropped; {enlarged}then pixels in 0..1 less {facts.mean}, divided by {facts.std}",
        f"- Output: softmax of the logits divided by {facts.temperature:g}",
        f"- Written by cifar100 {facts.versions['cifar100']} with torch {facts.versions['torch']}",
        *_how_to_load(facts),
    ]
    return "\n".join(printable(line) for line in lines) + "\n"


def _how_to_load(facts: Facts) -> list[str]:
    """Return how torchvision's model takes the weights of a ResNet."""
    if facts.network not in _TORCHVISION or facts.model_settings.get("shortcut") == "average_pool":
        return []
    changed = ""
    if facts.model_settings.get("stem") == "cifar":
        changed = "; first set conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False) and maxpool = nn.Identity()"
    model = f"torchvision.models.{facts.network}(num_classes={facts.info.num_classes})"
    return [f"- The weights have torchvision's names: {model}.load_state_dict{changed}"]
