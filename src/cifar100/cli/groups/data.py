"""`prepare` and `info`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from cifar100 import commands
from cifar100.cli.command import Command
from cifar100.files.user_paths import as_argument
from cifar100.terminal import say, say_next


def _add_prepare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        default="download",
        help="`download`, `generated` (Shapes-100), or the path of labelled images: class folders, a folder with a "
        "train.csv, parquet, .npz, or an official folder or archive (default: download)",
    )
    parser.add_argument(
        "--root",
        default="dataset",
        help="folder to write to, or a folder of labelled images, which is prepared in place (default: dataset)",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out images that cannot be read; skipped_images.csv lists them",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=32,
        metavar="PIXELS",
        help="side to which custom images are scaled, as in --data.image_size (default: 32)",
    )


def _prepare(options: Namespace) -> None:
    info = commands.prepare(
        options.source, options.root, image_size=options.image_size, skip_damaged=options.skip_damaged
    )
    say_next(_how_to_train(options, is_generated=info.origin == "generated"))


def _how_to_train(options: Namespace, *, is_generated: bool) -> str:
    """Return the command that trains on the data that were prepared."""
    root = "" if options.root == "dataset" else f" --data.root {as_argument(Path(options.root))}"
    source = " --data.source generated" if is_generated else ""
    side = "" if options.image_size == 32 else f" --data.image_size {options.image_size}"
    return f"cifar100 train{root}{source}{side}"


def _add_info_options(parser: ArgumentParser) -> None:
    parser.add_argument("--root", default="dataset", help="data folder to describe (default: dataset)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables, to paste into a bug report")


def _info(options: Namespace) -> None:
    sections = commands.info(options.root)
    if options.markdown:
        for line in markdown_tables(sections):
            say(line)
        return
    for title, facts in sections.items():
        say(title)
        width = max(map(len, facts))
        for name, value in facts.items():
            say(f"  {name:<{width}}  {value}")
    root = "" if options.root == "dataset" else f" --root {as_argument(Path(options.root))}"
    say_next(f"cifar100 info{root} --markdown", purpose="to paste this into a bug report")


def markdown_tables(sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the lines of one table in Markdown for each section, folded away under its title."""
    for title, facts in sections.items():
        yield f"<details><summary>{title}</summary>"
        yield from ("", f"| {title} | |", "| --- | --- |")
        for name, value in facts.items():
            yield f"| {_cell(name)} | {_cell(value)} |"
        yield from ("", "</details>", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


COMMANDS = {
    "prepare": Command(commands.prepare, _prepare, _add_prepare_options),
    "info": Command(commands.info, _info, _add_info_options),
}
