"""Everything that the program writes on the terminal. No failure of the terminal reaches the caller.

A terminal can close and a pipe can break in the middle of a run, or `> FILE` can fill the disk. The stream then falls
silent, and the command goes on. A character that the encoding lacks is shown as its escape, such as `\\xe9`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, cast

from cifar100.foreign_text import printable
from cifar100.process.started import as_started

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STYLES = {
    **dict.fromkeys(("progress.download", "progress.elapsed", "progress.percentage", "progress.remaining"), "none"),
    "bar.back": "bright_black",
}
"""Replace the styles of rich that are hard to read on a white background: yellow and cyan text, almost black bars."""

WIDTH_OF_A_FILE = 500
"""Columns of a table that is written to a file or pipe: wide enough that no cell is wrapped."""


def say(line: str = "", *, is_data: bool = False) -> None:
    """Print one line on standard output; control characters in it are escaped.

    is_data: the line is for another program, not a message: it is not shortened, and commands in it stay as they are.
    """
    shown = printable(line, max_length=len(line)) if is_data else as_started(printable(line))
    _write(sys.stdout, f"{shown}\n")


def say_next(*commands: str, purpose: str = "") -> None:
    """Print the commands that a person may want to copy, after an empty line. See `next_steps`."""
    for line in ("", *next_steps(*commands, purpose=purpose)):
        _write(sys.stdout, f"{as_started(printable(line, max_length=len(line)))}\n")


def next_steps(*commands: str, purpose: str = "") -> list[str]:
    """Return a heading and a line for each command. A command is never broken or cut: the terminal wraps it.

    purpose: what they are for, if the commands do not say it, such as `in Python`.
    """
    return [f"Next, {purpose}:" if purpose else "Next:", *(f"  {command}" for command in commands)]


def warn(line: str) -> None:
    """Print one line on standard error, after the name of the program."""
    report(f"cifar100: {line}")


def report(line: str) -> None:
    """Print one line on standard error, without the name of the program; control characters in it are escaped."""
    _write(sys.stderr, f"{as_started(printable(line))}\n")


def show(renderable: RenderableType) -> None:
    """Print a table or another renderable of rich on standard output. Text in it is neither markup nor emoji codes.

    Pass what a person or a file has named through `printable` first.
    """
    target = console()
    with target.capture() as captured:
        target.print(renderable)
    lines = captured.get().splitlines()
    _write(sys.stdout, "".join(f"{line if target.is_terminal else line.rstrip()}\n" for line in lines))


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console of rich for standard output or standard error, without markup, emoji codes and wrapping."""
    from rich.console import Console
    from rich.theme import Theme

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=cast(IO[str], UnfailingStream(stream)),
        theme=Theme(STYLES),
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        quiet=quiet,
        width=None if is_terminal(stream) else WIDTH_OF_A_FILE,
    )


def drawable(character: str, *, instead: str) -> str:
    """Return a character for standard output, or another one if its encoding lacks the first."""
    try:
        character.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return instead
    return character


def write_data(content: bytes) -> None:
    """Write a line of data for other programs on standard output, as it is; a terminal gets it as `say` writes it.

    Unlike a message, it must arrive.

    Raises:
        OSError: it cannot be written; BrokenPipeError: nobody reads it any more.
    """
    stream = UnfailingStream(sys.stdout).wrapped
    if stream is None:
        return
    if is_terminal(stream) or not hasattr(stream, "buffer"):
        line = content.decode("utf-8", errors="backslashreplace").removesuffix("\n")
        _write(stream, f"{printable(line, max_length=len(line))}\n")
        return
    try:
        stream.flush()
        stream.buffer.write(content)
        stream.buffer.flush()
    except OSError:
        _silence(stream)
        raise


@contextlib.contextmanager
def temporary_line(text: str) -> Iterator[None]:
    """Show a text on standard error, if that is a terminal that can erase it.

    It disappears when something else is printed, at the latest at the end of the block.
    """
    if can_redraw(sys.stderr):
        _write(sys.stderr, text)
        _temporary.is_shown = True
    try:
        yield
    finally:
        _temporary.erase()


def has_temporary_line() -> bool:
    """Return whether the text of `temporary_line` is on the screen."""
    return _temporary.is_shown


def take_over_temporary_line() -> None:
    """Let the next output of this process erase the text that the process which started it has shown."""
    _temporary.is_shown = True


class _Temporary:
    """The text of `temporary_line`, if there is one on the screen."""

    is_shown = False

    def erase(self) -> None:
        if self.is_shown:
            self.is_shown = False
            _write(sys.stderr, "\r\x1b[K")


_temporary = _Temporary()


@contextlib.contextmanager
def unfailing_streams() -> Iterator[None]:
    """Replace standard output and standard error by streams that cannot fail, for everything that prints in the block.

    The command line runs in it. On exit what is buffered is written or dropped, so that Python has nothing to complain
    about at its end.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, UnfailingStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


class UnfailingStream:
    """A text stream that drops what cannot be written. Everything else is that of the stream behind it.

    Args:
        stream: such as `sys.stdout`; None if the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream.wrapped if isinstance(stream, UnfailingStream) else stream

    @property
    def wrapped(self) -> TextIO | None:
        """The stream behind this one."""
        return self._stream

    def write(self, text: str) -> int:
        """Write text as far as possible; returns its length."""
        _temporary.erase()
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self.write(text.encode(encoding, errors="backslashreplace").decode(encoding))
            except (OSError, ValueError):  # ValueError: the stream is closed
                _silence(self._stream)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush as far as possible."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                _silence(self._stream)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return is_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(stream: TextIO, text: str) -> None:
    unfailing = UnfailingStream(stream)
    unfailing.write(text)
    unfailing.flush()


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal that is still there; the process may have no stream at all."""
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False


def can_redraw(stream: Any) -> bool:
    """Return whether a stream is a terminal on which a line can be replaced; one that is `dumb` cannot."""
    return is_terminal(stream) and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _silence(stream: TextIO) -> None:
    """Point a standard stream at the null device, so that what is buffered in it and other writers cannot fail.

    Only the real standard streams of the process: a stream that a caller has put in their place belongs to the caller.
    """
    descriptors: dict[TextIO | None, Literal[1, 2]] = {sys.__stdout__: 1, sys.__stderr__: 2}
    if stream not in descriptors:
        return
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptors[stream])
        os.close(null)
