"""Report the progress of long steps on standard error: a bar and the time left on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

from cifar100.terminal import can_redraw, console, report

_SECONDS_BETWEEN_LINES = 10.0

_FRACTION_BETWEEN_LINES = 0.1
"""Of the time since the start: an hour takes about 50 lines, not 360."""

_CHARACTERS_OF_COUNT_AND_TIME = 36
"""Beside the bar: `100,000 of 100,000`, `0:00:05 elapsed` and the spaces."""

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
    from rich.progress import DownloadColumn, Progress, TextColumn

    from cifar100.long_steps.columns import CountColumn, TimeLeftColumn, bar_beside

    screen = console(stderr=True)
    count = DownloadColumn() if unit == "bytes" else CountColumn()
    bar = bar_beside(len(title) + _CHARACTERS_OF_COUNT_AND_TIME, screen)
    columns = (TextColumn("{task.description}"), bar, count, TimeLeftColumn())
    with Progress(*columns, console=screen, transient=transient) as shown:
        task = shown.add_task(title, total=total, completed=start)
        yield lambda count: shown.advance(task, count)


@contextmanager
def _lines(title: str, total: int, start: int, unit: Unit, transient: bool) -> Iterator[Callable[[int], None]]:
    started = last = time.monotonic()
    done = start

    def shown(count: int) -> str:
        return f"{count / 1e6:.0f} MB" if unit == "bytes" else f"{count:,}"

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last > max(_SECONDS_BETWEEN_LINES, _FRACTION_BETWEEN_LINES * (now - started)):
            last = now
            left = (now - started) * (total - done) / max(1, done - start)
            report(f"{title}: {shown(done)} of {shown(total)}, {timedelta(seconds=round(left))} left")

    yield advance
    if not transient:
        report(f"{title}: {shown(done)} in {time.monotonic() - started:.1f} s")
