"""`prepare` and `info`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.terminal import say


def _add_prepare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        default="download",
        help="`download`, `generated` (Shapes-100), or the path of an official folder or archive (default: download)",
    )
    parser.add_argument("--root", default="dataset", help="folder to write to, or of custom data (default: dataset)")
    parser.add_argument(
        "--image-size",
        type=int,
        default=32,
        metavar="PIXELS",
        help="side to which custom images are scaled, as in --data.image_size (default: 32)",
    )


def _prepare(options: Namespace) -> None:
    commands.prepare(options.source, options.root, image_size=options.image_size)


def _add_info_options(parser: ArgumentParser) -> None:
    parser.add_argument("--root", default="dataset", help="data folder to describe (default: dataset)")


def _info(options: Namespace) -> None:
    for title, facts in commands.info(options.root).items():
        say(title)
        width = max(map(len, facts))
        for name, value in facts.items():
            say(f"  {name:<{width}}  {value}")


COMMANDS = {
    "prepare": Command(commands.prepare, _prepare, _add_prepare_options),
    "info": Command(commands.info, _info, _add_info_options),
}
