"""`evaluate`, `predict` and `report`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.groups.robustness import add_robustness
from cifar100.files.atomic import json_text
from cifar100.foreign_text import printable
from cifar100.terminal import is_terminal, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from cifar100.results.calibration import Calibration
    from cifar100.results.evaluate import Evaluation, Measurement
    from cifar100.results.predict import Prediction


def _add_run_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or an experiment's name, or an exported .onnx file")
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
        "--calibrate",
        action="store_true",
        help="fit a temperature on the validation images and save it, for `predict --calibrated`",
    )
    _add_robustness_options(parser)
    parser.add_argument(
        "--data.root", dest="data_root", metavar="DIR", help="another data folder with the same classes, as it is now"
    )


def _add_robustness_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fair",
        action="store_true",
        help="also without the test images that have a near-duplicate among the training images (ciFAIR's list)",
    )
    parser.add_argument(
        "--duplicates", metavar="FILE", help="as --fair, with a list in the form of ciFAIR's duplicates_cifar100.csv"
    )
    parser.add_argument(
        "--corrected",
        action="store_true",
        help="also without the test images whose label is wrong, and with corrected labels (cleanlab's list)",
    )
    parser.add_argument(
        "--label-errors",
        metavar="FILE",
        help="as --corrected, with a list in the form of cleanlab's cifar100_mturk.json",
    )
    parser.add_argument(
        "--corruptions",
        metavar="DIR|generated",
        help="also on corrupted images: the folder of CIFAR-100-C, or similar ones that are generated",
    )


def _evaluate(options: Namespace) -> None:
    from cifar100.environment import this_program  # imports numpy

    evaluation = commands.evaluate(
        options.run,
        split=options.split,
        checkpoint=options.checkpoint,
        flip_tta=options.flip_tta,
        calibrate=options.calibrate,
        fair=options.fair,
        duplicates=options.duplicates,
        corrected=options.corrected,
        label_errors=options.label_errors,
        corruptions=options.corruptions,
        data_root=options.data_root,
    )
    show_evaluation(evaluation)
    if not evaluation.run.endswith(".onnx"):  # nothing of an exported or published file is saved
        say()
        say("All of it, with pictures, as one HTML file:")
        say(f"  {this_program()} report {quote(options.run)}")


def show_evaluation(evaluation: Evaluation) -> None:
    """Print every figure with its 95 % interval, and the classes with the highest and the lowest accuracy."""
    from rich.text import Text

    table = _plain_table()
    table.add_row("data", printable(evaluation.data))
    table.add_row("images", f"{evaluation.num_images:,}, {evaluation.split}")
    table.add_row(
        "weights", f"{printable(evaluation.checkpoint)}, epoch {evaluation.epoch}" + ", averaged" * evaluation.averaged
    )
    ordered = sorted(evaluation.per_class.items(), key=lambda item: item[1].recall, reverse=True)
    for title, classes in (("best classes", ordered[:3]), ("worst classes", ordered[:-4:-1])):
        shown = (f"{printable(name, max_length=60)} {measures.recall:.0%}" for name, measures in classes)
        table.add_row(title, ", ".join(shown))
    show(table)
    say()
    figures = _plain_table()
    figures.add_row("", "", Text("95 % interval", style="dim"))
    _add_metrics(figures, evaluation)
    _add_calibration(figures, evaluation.calibration)
    if evaluation.calibrated is not None:
        figures.add_row(f"with temperature {evaluation.calibrated.temperature:.3f}", "", _whose(evaluation))
        _add_calibration(figures, evaluation.calibrated, indent="  ", all_figures=True)
    if evaluation.flip_tta is not None:
        figures.add_row("with flip TTA", "", "test-time augmentation: mean logits of the image and its mirror image")
        _add_metrics(figures, evaluation.flip_tta, indent="  ")
    if evaluation.robustness is not None:
        add_robustness(figures, evaluation.robustness)
    show(figures)


def _add_metrics(table: Table, measurement: Measurement, *, indent: str = "") -> None:
    from rich.text import Text

    from cifar100.metrics import label, text

    for name, estimate in measurement.metrics.items():
        low, high = (text(name, bound) for bound in estimate.interval)
        style = "bold" if name == "accuracy" else ""
        table.add_row(indent + label(name), Text(text(name, estimate.value), style=style), f"{low} to {high}")


def _add_calibration(table: Table, calibration: Calibration, *, indent: str = "", all_figures: bool = False) -> None:
    if all_figures:
        table.add_row(f"{indent}loss", f"{calibration.loss:.4f}", "")
        table.add_row(f"{indent}Brier score", f"{calibration.brier_score:.4f}", "")
    same_size = f"bins of equal width; {calibration.ece_equal_mass:.4f} in bins of equally many images"
    table.add_row(f"{indent}calibration error", f"{calibration.ece_equal_width:.4f}", same_size)


def _whose(evaluation: Evaluation) -> str:
    """Return on which images the temperature was fitted."""
    return "fitted on these images" if evaluation.split == "validation" else "fitted on the validation images"


def _add_predict_options(parser: ArgumentParser) -> None:
    _add_run_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, any size and format")
    parser.add_argument("--top", type=int, default=5, help="number of classes to show for each image (default: 5)")
    parser.add_argument(
        "--calibrated", action="store_true", help="probabilities with the temperature of `evaluate --calibrate`"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _predict(options: Namespace) -> None:
    predictions = commands.predict(
        options.run,
        options.images,
        top=options.top,
        checkpoint=options.checkpoint,
        calibrated=options.calibrated,
    )
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


def _add_report_options(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders or experiments' names")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="file to write (default: report.html in the run folder; for several runs logs/report-RUN-RUN.html)",
    )


def _report(options: Namespace) -> None:
    path = commands.report(options.runs, output=options.output)
    shown = path.resolve().as_uri() if is_terminal(sys.stdout) else path
    say(f"{shown} ({path.stat().st_size / 1e6:.1f} MB)")


def _plain_table() -> Table:
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


COMMANDS = {
    "evaluate": Command(commands.evaluate, _evaluate, _add_evaluate_options),
    "predict": Command(commands.predict, _predict, _add_predict_options),
    "report": Command(commands.report, _report, _add_report_options),
}
