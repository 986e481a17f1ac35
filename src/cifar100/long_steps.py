"""Report the progress of long steps on standard error: a bar and the time left on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from cifar100.terminal import can_redraw, console, report

_SECONDS_BETWEEN_LINES = 10.0

_FRACTION_BETWEEN_LINES = 0.1
"""Of the time since the start: an hour takes about 50 lines, not 360."""

Unit = Literal["images", "bytes"]


@contextmanager
def progress(
    title: str, *, total: int, start: int = 0, unit: Unit = "images", silent: bool = False, transient: bool = False
) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just completed; `start` of `total` are complete already.

    silent: report nothing, as on ranks other than 0.
    transient: leave nothing on the terminal, and no line about a step of a few seconds elsewhere.
    """
    if silent:
        yield lambda count: None
        return
    with (_bar if can_redraw(sys.stderr) else _lines)(title, total, start, unit, transient) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int, start: int, unit: Unit, transient: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    left = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description}"), BarColumn(), count, left)
    with Progress(*columns, console=console(stderr=True), transient=transient) as bar:
        task = bar.add_task(title, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _lines(title: str, total: int, start: int, unit: Unit, transient: bool) -> Iterator[Callable[[int], None]]:
    started = last = time.monotonic()
    done = start

    def shown(count: int) -> str:
        return f"{count / 1e6:.0f} MB" if unit == "bytes" else str(count)

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last > max(_SECONDS_BETWEEN_LINES, _FRACTION_BETWEEN_LINES * (now - started)):
            last = now
            report(f"{title}: {shown(done)} of {shown(total)}")

    yield advance
    if not transient:
        report(f"{title}: {shown(done)} in {time.monotonic() - started:.1f} s")
