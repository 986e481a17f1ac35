"""`evaluate` and `report`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from shlex import quote

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.shown_evaluation import show_ensemble, show_evaluation
from cifar100.errors import UserError
from cifar100.terminal import is_terminal, say, say_next


def network_help(exported: str = ".onnx") -> str:
    """Return the help of an argument that takes what `load_model` takes. exported: suffixes of exported files."""
    return (
        f"a run folder or experiment name, an exported {exported} file, a folder written by `publish`, or hf:USER/NAME"
    )


def add_checkpoint_option(parser: ArgumentParser) -> None:
    """Add the option that names the weights."""
    parser.add_argument("--checkpoint", default="best", metavar="best|last|PATH", help="weights to use (default: best)")


def _add_evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"{network_help()}; with --ensemble, runs only")
    add_checkpoint_option(parser)
    parser.add_argument("--ensemble", action="store_true", help="measure the mean of the probabilities of several runs")
    parser.add_argument(
        "--experiment", metavar="NAME", help="folder of the ensemble in logs/ (default: ensemble-RUN-RUN)"
    )
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="images to measure on (default: test)"
    )
    parser.add_argument(
        "--flip-tta",
        action="store_true",
        help="also measure with flip test-time augmentation: the mean over each image and its mirror image",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="fit a temperature on the validation images and save it for `predict --calibrated`",
    )
    _add_robustness_options(parser)
    parser.add_argument(
        "--data.root", dest="data_root", metavar="DIR", help="another data folder with the same classes"
    )


def _add_robustness_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fair",
        action="store_true",
        help="also measure without the test images that have a near-duplicate in the training images (ciFAIR's list)",
    )
    parser.add_argument(
        "--duplicates", metavar="FILE", help="like --fair, with another list in the format of duplicates_cifar100.csv"
    )
    parser.add_argument(
        "--corrected",
        action="store_true",
        help="also measure without the test images whose label is wrong, and with corrected labels (cleanlab's list)",
    )
    parser.add_argument(
        "--label-errors",
        metavar="FILE",
        help="like --corrected, with another list in the format of cifar100_mturk.json",
    )
    parser.add_argument(
        "--corruptions",
        metavar="DIR|generated",
        help="also measure on corrupted images: the folder of CIFAR-100-C, or `generated` for similar corruptions",
    )


def _evaluate(options: Namespace) -> None:
    if options.ensemble:
        _evaluate_ensemble(options)
        return
    if len(options.runs) > 1:
        runs = " ".join(map(quote, options.runs))
        raise UserError(
            f"{len(options.runs)} runs are given, but evaluate measures one; measure each, then compare them: "
            f"cifar100 compare {runs}; or measure their ensemble: cifar100 evaluate {runs} --ensemble"
        )
    if options.experiment is not None:
        raise UserError("--experiment names the folder of an ensemble; leave it out, or add --ensemble.")
    (run,) = options.runs
    evaluation = commands.evaluate(
        run,
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
        _say_how_to_report(run)


SINGLE = ("flip_tta", "calibrate", "fair", "duplicates", "corrected", "label_errors", "corruptions")
"""Options of `evaluate` that need a single network."""


def _evaluate_ensemble(options: Namespace) -> None:
    for name in SINGLE:
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} measures a single network; leave it out with --ensemble.")
    evaluation = commands.ensemble(
        options.runs,
        split=options.split,
        checkpoint=options.checkpoint,
        experiment=options.experiment,
        data_root=options.data_root,
    )
    show_ensemble(evaluation)
    _say_how_to_report(evaluation.run)


def _say_how_to_report(run: str) -> None:
    say_next(f"cifar100 report {quote(run)}", purpose="a report with pictures, as one HTML file")


def _add_report_options(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders or experiment names")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="file to write (default: report.html in the run folder; for several runs logs/report-RUN-RUN.html)",
    )


def _report(options: Namespace) -> None:
    path = commands.report(options.runs, output=options.output)
    shown = path.resolve().as_uri() if is_terminal(sys.stdout) else path
    say(f"{shown} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
    other = "" if len(options.runs) > 1 else " OTHER_RUN"
    say_next(f"cifar100 compare {' '.join(map(quote, options.runs))}{other}")


COMMANDS = {
    "evaluate": Command(commands.evaluate, _evaluate, _add_evaluate_options),
    "report": Command(commands.report, _report, _add_report_options),
}
