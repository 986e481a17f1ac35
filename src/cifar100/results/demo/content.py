"""What the page says about the network, and the images that it shows: examples and mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.errors import UserError
from cifar100.results.calibration import saved_temperature
from cifar100.results.evaluation_data import images_of
from cifar100.results.exported.onnx_network import ExportedNetwork
from cifar100.results.report.facts import RunFacts, read_facts
from cifar100.results.report.measured import Measured, TopLoss, read_measured
from cifar100.results.report.pictures import read_pictures
from cifar100.results.report.rendering.inline import png_uri
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.terminal import warn

NUM_EXAMPLES = 16
NUM_MISTAKES = 24


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image to try."""

    picture: Markup
    """A data URI."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A misclassified image."""

    picture: Markup
    loss: TopLoss


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that the page shows before the first picture."""

    name: str
    """Of the run."""

    network: str
    info: DatasetInfo
    temperature: float
    """1: the probabilities are as trained."""

    has_maps: bool = True
    """Whether an answer can show where the network looked."""

    accuracy: dict[str, Any] | None = None
    """Value, interval and number of images."""

    measured_on: str = ""
    """The images: `10,000 test images`."""

    how_to_evaluate: str = ""
    how_to_calibrate: str = ""
    """What to type; empty if nothing is missing."""

    examples: list[Example] = field(default_factory=list)
    examples_are: str = ""
    """Their split: `test`, `validation` or `training`."""

    mistakes: list[Mistake] = field(default_factory=list)


def of_run(run: RunFolder, trained: TrainedNetwork) -> tuple[Content, TrainedNetwork]:
    """Return the content for a run, and its network with the fitted temperature if it has one.

    Warns of what cannot be shown.

    Raises:
        UserError: a file of the run is damaged.
    """
    facts = read_facts(run)
    measured = _of_these_weights(read_measured(facts), trained)
    fitted = saved_temperature(run, trained)
    if fitted is not None:
        trained = replace(trained, temperature=fitted.temperature)
    weights = trained.checkpoint
    can_be_measured = facts.info.num_test or facts.num_validation or facts.is_ensemble
    content = Content(
        name=run.name,
        network=facts.network,
        info=facts.info,
        temperature=trained.temperature,
        accuracy=None if measured is None else measured.content["metrics"]["accuracy"],
        measured_on="" if measured is None else measured.images,
        how_to_evaluate=facts.how_to_evaluate(checkpoint=weights) if measured is None and can_be_measured else "",
        how_to_calibrate=facts.how_to_calibrate(checkpoint=weights) if fitted is None and facts.num_validation else "",
    )
    try:
        return _with_images(content, facts, measured, trained), trained
    except UserError as error:
        warn(f"the page shows no examples: {error}")
        return content, trained


def of_exported(exported: ExportedNetwork) -> Content:
    """Return the content for an exported file, which has no images.

    The accuracies in a file are those of its network in float32. They are not shown for one in int8, which has others.
    """
    facts = exported.facts
    is_exact = facts.precision == "float32"
    split = "test" if "test" in facts.accuracies else "validation"
    accuracy = facts.accuracies.get(split) if is_exact else None
    return Content(
        name=facts.run,
        network=facts.network if is_exact else f"{facts.network} in {facts.precision}",
        info=facts.info,
        temperature=facts.temperature,
        has_maps=False,
        accuracy=accuracy,
        measured_on="" if accuracy is None else f"{accuracy['num_images']:,} {split} images",
    )


def _of_these_weights(measured: Measured | None, trained: TrainedNetwork) -> Measured | None:
    """Return the evaluation if it is of the network's own weights."""
    return measured if measured is not None and trained.weights.are_those_of(measured.content) else None


def _with_images(content: Content, facts: RunFacts, measured: Measured | None, trained: TrainedNetwork) -> Content:
    """Return the content with random examples, and with the worst mistakes of an evaluation.

    Test images are shown only of a run that was measured on them; others show validation images, or training images
    if there are none.
    """
    names = facts.info.class_names
    if measured is None:
        split: Literal["validation", "train"] = "validation" if facts.num_validation else "train"
        images, labels, _ = images_of(trained, facts.run, split=split, most=NUM_EXAMPLES)
        shown_as = split.replace("train", "training")
        return replace(content, examples=_examples(images, labels, names), examples_are=shown_as)
    images, labels = read_pictures(facts, measured).images, measured.saved.labels
    mistakes = [
        Mistake(picture=_picture(images[loss.index]), loss=loss) for loss in measured.top_losses()[:NUM_MISTAKES]
    ]
    examples = _examples(images, labels, names)
    return replace(content, examples=examples, examples_are=measured.split, mistakes=mistakes)


def _examples(images: NDArray[np.uint8], labels: NDArray[np.int64], names: tuple[str, ...]) -> list[Example]:
    """Return random images, always the same ones, whether they are recognised or not."""
    chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(images))[:NUM_EXAMPLES]
    return [Example(picture=_picture(images[index]), label=names[labels[index]]) for index in chosen]


def _picture(image: NDArray[np.uint8]) -> Markup:
    return png_uri(image.transpose(1, 2, 0))
