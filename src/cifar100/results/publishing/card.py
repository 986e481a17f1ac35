"""The README.md of a published network: a header that the Hugging Face Hub reads, and the model card."""

from __future__ import annotations

import re
from typing import Any

import yaml

from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.foreign_text import printable
from cifar100.metrics import label
from cifar100.results.export.card import model_card
from cifar100.results.exported.facts import Facts
from cifar100.results.publishing.hub_name import HubName
from cifar100.results.report.facts import RunFacts
from cifar100.results.report.rendering.templates import duration, magnitude
from cifar100.results.saved_evaluation import SavedEvaluation

OFFICIAL_DATA = "uoft-cs/cifar100"
"""CIFAR-100's name on the Hub."""

METRICS = ("accuracy", "top5_accuracy", "superclass_accuracy")


def check_license(license_name: str | None) -> None:
    """Refuse what cannot be an identifier of a licence.

    Raises:
        UserError: says what one looks like.
    """
    if license_name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", str(license_name)):
        raise UserError(
            f"--license is {shown(license_name)}, but it must be an identifier of the Hub, such as mit, apache-2.0 or "
            "cc-by-4.0."
        )


def readme(
    facts: Facts, run: RunFacts, evaluation: SavedEvaluation | None, *, license_name: str | None, name: HubName | None
) -> str:
    """Return the README.md of a published network.

    Args:
        facts: of its exports.
        run: the run.
        evaluation: on the test images, of the same weights; None if there is none.
        license_name: of the weights; None: not stated.
        name: where it will be; None for a folder.
    """
    header = {
        "library_name": "cifar100",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "cifar100", "pytorch", "onnx", "safetensors"],
        **({"license": license_name} if license_name else {}),
        **({"datasets": [OFFICIAL_DATA]} if facts.info.origin == "official" else {}),
        **({} if evaluation is None else _results(facts, evaluation)),
    }
    lines = [model_card(facts).rstrip(), *_training(run), *_how_to_use(name), *_license(license_name)]
    return with_header(header, "\n".join(lines) + "\n")


def with_header(header: dict[str, Any], text: str) -> str:
    """Return Markdown under a header in YAML."""
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _results(facts: Facts, evaluation: SavedEvaluation) -> dict[str, Any]:
    """Return the figures on the test images as the Hub shows them."""
    is_official = facts.info.origin == "official"
    measured = evaluation.content["metrics"]
    metrics = [
        {"type": name, "name": label(name), "value": round(measured[name]["value"], 4)}
        for name in METRICS
        if name in measured
    ]
    data = {"name": printable(facts.info.name), "type": OFFICIAL_DATA if is_official else "custom", "split": "test"}
    task = {"type": "image-classification", "name": "Image Classification"}
    return {
        "metrics": ["accuracy"],
        "model-index": [
            {"name": printable(facts.run), "results": [{"task": task, "dataset": data, "metrics": metrics}]}
        ],
    }


def _training(run: RunFacts) -> list[str]:
    facts = {
        "Recipe": run.recipe,
        "Epochs": len(run.epochs) or None,
        "Time": duration(run.seconds) if run.seconds else None,
        "Device": run.log.device,
        "Images": f"{run.num_train:,} for training, {run.num_validation:,} for validation" if run.num_train else None,
        "Multiply-adds": f"{magnitude(run.mult_adds)} for an image" if run.mult_adds else None,
    }
    lines = [f"- {name}: {printable(value)}" for name, value in facts.items() if value]
    return ["", "## Training", "", *lines, "- All settings: training_settings.yaml"]


def _how_to_use(name: HubName | None) -> list[str]:
    argument = "FOLDER" if name is None else str(name)
    return [
        "",
        "## Use",
        "",
        "```bash",
        f"cifar100 predict {argument} photo.jpg",
        "```",
        "",
        "Without that program: model.onnx holds the network with resizing and normalisation.",
        "",
        "```python",
        "import numpy as np, onnxruntime",
        "from PIL import Image, ImageOps",
        "",
        'session = onnxruntime.InferenceSession("model.onnx")',
        'photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")',
        "pixels = np.asarray(photo).transpose(2, 0, 1)",
        '(probabilities,) = session.run(["probabilities"], {"images": pixels[None]})  # (1, number of classes)',
        "```",
        "",
        "model.safetensors holds the weights alone, config.json the names of the classes and the normalisation.",
    ]


def _license(license_name: str | None) -> list[str]:
    stated = license_name or "not stated. Add it to the header of this file: `license: mit`, for example"
    return ["", "## Licence", "", f"Licence of the weights: {stated}."]
