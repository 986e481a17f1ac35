"""`evaluate` and `predict`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.files.atomic import json_text
from cifar100.foreign_text import printable
from cifar100.terminal import say, show

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.evaluate import Evaluation, Measurement
    from cifar100.results.predict import Prediction


def _add_run_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or an experiment's name")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|PATH", help="weights to use (default: best)")


def _add_evaluate_options(parser: ArgumentParser) -> None:
    _add_run_options(parser)
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="images to measure on (default: test)"
    )
    parser.add_argument(
        "--flip-tta", action="store_true", help="also average each image with its mirror image; reported separately"
    )
    parser.add_argument(
        "--data.root", dest="data_root", metavar="DIR", help="another data folder with the same classes, as it is now"
    )


def _evaluate(options: Namespace) -> None:
    show_evaluation(
        commands.evaluate(
            options.run,
            split=options.split,
            checkpoint=options.checkpoint,
            flip_tta=options.flip_tta,
            data_root=options.data_root,
        )
    )


def show_evaluation(evaluation: Evaluation) -> None:
    """Print every metric, and the classes with the highest and the lowest accuracy."""
    table = _plain_table()
    table.add_row("data", printable(evaluation.data))
    table.add_row("images", f"{evaluation.num_images:,}, {evaluation.split}")
    table.add_row(
        "weights", f"{printable(evaluation.checkpoint)}, epoch {evaluation.epoch}" + ", averaged" * evaluation.averaged
    )
    _add_metrics(table, evaluation)
    if evaluation.superclass is not None:
        table.add_row("superclass accuracy", f"{evaluation.superclass:.2%}")
    if evaluation.flip_tta is not None:
        table.add_row("with flip TTA", "test-time augmentation: mean logits of the image and its mirror image")
        _add_metrics(table, evaluation.flip_tta, indent="  ")
    ordered = sorted(evaluation.per_class.items(), key=lambda item: item[1], reverse=True)
    for title, classes in (("best classes", ordered[:3]), ("worst classes", ordered[:-4:-1])):
        shown = (f"{printable(name, max_length=60)} {accuracy:.0%}" for name, accuracy in classes)
        table.add_row(title, ", ".join(shown))
    show(table)


def _add_metrics(table: Table, measurement: Measurement, *, indent: str = "") -> None:
    from rich.text import Text

    from cifar100.metrics import label, text

    for name, value in measurement.metrics.items():
        shown = Text(text(name, value))
        if name == "accuracy":
            low, high = measurement.top1_interval
            shown = Text.assemble((text(name, value), "bold"), f"  (95 % interval {low:.2%} to {high:.2%})")
        table.add_row(indent + label(name), shown)


def _add_predict_options(parser: ArgumentParser) -> None:
    _add_run_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, any size and format")
    parser.add_argument("--top", type=int, default=5, help="number of classes to show for each image (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _predict(options: Namespace) -> None:
    predictions = commands.predict(options.run, options.images, top=options.top, checkpoint=options.checkpoint)
    if options.json:
        for line in json_text([asdict(prediction) for prediction in predictions]).splitlines():
            say(line)
    else:
        show_predictions(predictions)


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print a table for each image."""
    from rich.text import Text

    for prediction in predictions:
        table = _plain_table()
        for entry in prediction.classes:
            bar = "█" * max(1, round(30 * entry.probability))
            superclass = Text(printable(entry.superclass or ""), style="dim")
            table.add_row(f"  {entry.probability:7.2%}", printable(entry.name, max_length=60), superclass, bar)
        show(Text(printable(prediction.image), style="bold"))
        show(table)


def _plain_table() -> Table:
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


COMMANDS = {
    "evaluate": Command(commands.evaluate, _evaluate, _add_evaluate_options),
    "predict": Command(commands.predict, _predict, _add_predict_options),
}
