"""`demo`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from cifar100 import commands
from cifar100.cli.command import Command


def _add_demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or an experiment's name, or an exported .onnx file")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|PATH", help="weights to use (default: best)")
    parser.add_argument(
        "--port", type=int, default=7860, help="port of the page on this machine; 0: any free one (default: 7860)"
    )


def _demo(options: Namespace) -> None:
    commands.demo(options.run, port=options.port, checkpoint=options.checkpoint)


COMMANDS = {"demo": Command(commands.demo, _demo, _add_demo_options)}
