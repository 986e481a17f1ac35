"""`export`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.groups.results import add_checkpoint_option
from cifar100.cli.shown_evaluation import plain_table
from cifar100.foreign_text import printable
from cifar100.terminal import say_next, show

if TYPE_CHECKING:
    from cifar100.results.export.result import Export


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or experiment name")
    parser.add_argument(
        "--format",
        choices=["onnx", "torch", "torchscript", "safetensors"],
        default="onnx",
        help="torch: a .pt2 file of torch.export; torchscript: deprecated by PyTorch, for programs that still load it; "
        "safetensors: only the weights (default: onnx)",
    )
    parser.add_argument("--output", metavar="FILE", help="a new file (default: export/model.SUFFIX in the run folder)")
    add_checkpoint_option(parser)
    parser.add_argument(
        "--calibrated", action="store_true", help="apply the temperature that `evaluate --calibrate` fitted"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="quantize the ONNX file to int8, calibrated on training images and measured on validation images",
    )
    parser.add_argument(
        "--int8-limit",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="maximum loss of validation accuracy by int8, in percentage points; beyond it, no file is written "
        "(default: 1)",
    )
    parser.add_argument(
        "--data.root", dest="data_root", metavar="DIR", help="another folder with the run's data, for the check"
    )


def _export(options: Namespace) -> None:
    show_export(
        commands.export(
            options.run,
            format=options.format,
            output=options.output,
            checkpoint=options.checkpoint,
            calibrated=options.calibrated,
            int8=options.int8,
            int8_limit=options.int8_limit,
            data_root=options.data_root,
        )
    )


def show_export(export: Export) -> None:
    """Print the file, its difference from the network and its speed, then what to do with it."""
    table = plain_table()
    table.add_row("file", printable(export.path))
    table.add_row("size", f"{export.num_bytes / 1e6:.2f} MB, {export.precision}")
    table.add_row("largest difference", f"{export.largest_difference:.2g} in a probability, on {export.compared_on}")
    if export.difference_of_other_sizes is not None:
        table.add_row("  of other sizes", f"{export.difference_of_other_sizes:.2g}, against Pillow's resizing")
    if export.int8_accuracy is not None:
        found = export.int8_accuracy
        table.add_row(
            "accuracy",
            f"{found.int8:.2%} in int8, {found.float32:.2%} in float32, on {found.num_images:,} validation images",
        )
    threads = f"{export.num_threads} thread{'s' if export.num_threads != 1 else ''}"
    table.add_row("one image", f"{export.milliseconds_single:.2f} ms ({export.runtime}, {threads})")
    table.add_row(f"{export.batch_size} images", f"{export.milliseconds_batch:.1f} ms")
    show(table)
    _say_next(export)


def _say_next(export: Export) -> None:
    path = export.path.as_posix()
    if export.format == "onnx":
        say_next(f"cifar100 predict {quote(path)} IMAGE")
        return
    calls = {
        "torch": f"torch.export.load({path!r}).module()(images)",
        "torchscript": f"torch.jit.load({path!r})(images)",
        "safetensors": f"safetensors.torch.load_file({path!r})",
    }
    say_next(calls[export.format], purpose="in Python")


COMMANDS = {"export": Command(commands.export, _export, _add_options)}
