"""`predict`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.groups.results import add_checkpoint_option, network_help
from cifar100.cli.shown_evaluation import plain_table
from cifar100.errors import Incomplete, UserError
from cifar100.files.atomic import replacing, what_to_do
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import printable
from cifar100.long_steps import progress
from cifar100.terminal import drawable, is_terminal, say, show, write_data

if TYPE_CHECKING:
    from cifar100.results.prediction.stream import Prediction
    from cifar100.results.prediction.writing import Format

FEW = 256
"""Up to this many images no progress is shown: they are one batch."""

NOBODY_READS = 141
"""The exit status of a program that SIGPIPE ends."""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=network_help(".onnx or .safetensors"))
    add_checkpoint_option(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files of any size and format, folders with all images below them, globs in quotes, URLs (http, "
        "https), or - for one image on standard input",
    )
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="number of classes to show for each image (default: 5)"
    )
    parser.add_argument(
        "--calibrated", action="store_true", help="apply the temperature that `evaluate --calibrate` fitted"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--csv", action="store_true", help="print CSV, one row per image, instead of tables")
    formats.add_argument("--json", action="store_true", help="print JSON, one object per image, instead of tables")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write to FILE when all images are done; its suffix, .csv or .json, sets the format",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="include the probability of every class; needs CSV or JSON"
    )
    parser.epilog = (
        "If an image cannot be read, a line says why, and the others follow. Exit status: 0 if all images were "
        "classified, 4 if some could not be read, 2 for a mistake in the command."
    )


def _predict(options: Namespace) -> None:
    output = None if options.output is None else user_path(options.output)
    format = _format(options, output)  # noqa: A001
    if output is not None:
        from cifar100.results.prediction.writing import check_replaceable

        check_replaceable(output)
    stream = commands.predict_stream(
        options.run,
        options.images,
        top=options.top,
        probabilities=options.probabilities,
        checkpoint=options.checkpoint,
        calibrated=options.calibrated,
        errors="keep",
    )
    total, counts = stream.total or 0, Counter[str]()
    is_short = total <= FEW or (output is None and is_terminal(sys.stdout))
    with progress("Predicting", total=total, silent=is_short) as advance:
        predictions = _counted(stream, counts, advance)
        if format is None:
            show_predictions(predictions)
        else:
            from cifar100.results.prediction.writing import encoded, lines

            found = lines(predictions, format, stream.info, top=options.top, probabilities=options.probabilities)
            with _destination(output) as write:
                for line in found:
                    write(encoded(line))
    if output is not None:
        say(f"{printable(str(output))}: predictions of {counts['images']:,} image{'s' * (counts['images'] != 1)}")
    if counts["failed"]:
        raise Incomplete(_unread(counts["failed"], total))


def _format(options: Namespace, output: Path | None) -> Format | None:
    """Return the format of the output; None: tables.

    Raises:
        UserError: options contradict each other.
    """
    chosen: Format | None = "csv" if options.csv else "json" if options.json else None
    if output is not None:
        suffix = output.suffix.lower().removeprefix(".")
        if chosen is None:
            if suffix not in ("csv", "json"):
                raise UserError(
                    f"--output is {output}, expected a name that ends in .csv or .json; or add --csv or --json."
                )
            chosen = "csv" if suffix == "csv" else "json"
        elif suffix in ("csv", "json") and suffix != chosen:
            raise UserError(f"--output is {output}, but --{chosen} is given; leave one of them out.")
    if options.probabilities and chosen is None:
        raise UserError("--probabilities needs --csv or --json; to see all classes in tables, use a large --top.")
    return chosen


def _unread(failed: int, total: int) -> str:
    if total == 1:
        return "the image could not be read; the output says why."
    if failed == total:
        return f"none of the {total:,} images could be read; the output says why for each."
    return f"{failed:,} of {total:,} images could not be read; the output says why for each."


def _counted(
    predictions: Iterable[Prediction], counts: Counter[str], advance: Callable[[int], None]
) -> Iterator[Prediction]:
    for prediction in predictions:
        counts["images"] += 1
        counts["failed"] += prediction.error is not None
        yield prediction
        advance(1)


@contextmanager
def _destination(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes the output: a file that gets its name at the end, or standard output."""
    try:
        if output is None:
            yield write_data
        else:
            output.parent.mkdir(parents=True, exist_ok=True)
            with replacing(output) as file:
                yield file.write
    except BrokenPipeError:  # as after `| head`
        sys.exit(NOBODY_READS)
    except OSError as error:
        where = "standard output" if output is None else output
        raise UserError(f"{where} cannot be written ({error.strerror or error}); {what_to_do(error)}.") from error


def show_predictions(predictions: Iterable[Prediction]) -> None:
    """Print a table for each image, and a line for one that cannot be read."""
    from rich.text import Text

    for prediction in predictions:
        if prediction.error is not None:
            say(prediction.error)
            continue
        table = plain_table()
        for entry in prediction.classes:
            bar = drawable("█", instead="#") * max(1, round(30 * entry.probability))
            superclass = Text(printable(entry.superclass or ""), style="dim")
            table.add_row(f"  {entry.probability:7.2%}", printable(entry.name, max_length=60), superclass, bar)
        show(Text(printable(prediction.image), style="bold"))
        show(table)


COMMANDS = {"predict": Command(commands.predict, _predict, _add_options)}
