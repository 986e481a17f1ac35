"""`demo` and `publish`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.cli.groups.results import add_checkpoint_option, network_help
from cifar100.cli.shown_evaluation import plain_table
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import printable
from cifar100.terminal import say, say_next, show

if TYPE_CHECKING:
    from cifar100.results.publishing.publish import Published

DEFAULT_PORT = 7860


def _add_demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=f"{network_help()}; with --space, a run only")
    add_checkpoint_option(parser)
    parser.add_argument("--port", type=int, help=f"port of the page; 0 selects a free one (default: {DEFAULT_PORT})")
    parser.add_argument(
        "--space", metavar="DIR", help="write the folder of a Hugging Face Space with such a page instead"
    )
    _add_license(parser)


def _add_license(parser: ArgumentParser) -> None:
    parser.add_argument("--license", metavar="NAME", help="license of the weights, by its name on the Hub, such as mit")


def _demo(options: Namespace) -> None:
    if options.space is None:
        if options.license is not None:
            raise UserError("--license has no effect without --space; leave it out.")
        port = DEFAULT_PORT if options.port is None else options.port
        commands.demo(options.run, port=port, checkpoint=options.checkpoint)
        return
    if options.port is not None:
        raise UserError("--port has no effect with --space; leave one of them out.")
    files = commands.write_space(options.run, options.space, license=options.license, checkpoint=options.checkpoint)
    for path in files:
        say(str(path))
    app, requirements = (as_argument(Path(options.space) / name) for name in ("app.py", "requirements.txt"))
    say_next(
        f"pip install uv && uv run --no-project --with-requirements {requirements} {app}",
        "hf repos create USER/NAME --repo-type space --space-sdk gradio",
        f"hf upload USER/NAME {as_argument(Path(options.space))} --repo-type space",
        purpose="try it in a separate environment, then upload it",
    )


def _add_publish_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder or experiment name")
    parser.add_argument(
        "--to", required=True, metavar="FOLDER|hf:USER/NAME", help="a new folder, or the Hugging Face Hub"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="make a new repository private (default: the setting of the account, else public)",
    )
    _add_license(parser)
    add_checkpoint_option(parser)


def _publish(options: Namespace) -> None:
    show_published(
        commands.publish(
            options.run,
            to=options.to,
            license=options.license,
            private=options.private,
            checkpoint=options.checkpoint,
        )
    )


def show_published(published: Published) -> None:
    """Print the files and where they are, then how to use them."""
    table = plain_table()
    for name, num_bytes in published.files.items():
        table.add_row(printable(name), f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 10_000 else f"{num_bytes:,} bytes")
    show(table)
    say(f"in {published.where}")
    say_next(f"cifar100 predict {quote(str(published.name or published.where))} IMAGE")


COMMANDS = {
    "demo": Command(commands.demo, _demo, _add_demo_options),
    "publish": Command(commands.publish, _publish, _add_publish_options),
}
