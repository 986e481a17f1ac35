"""The columns of a progress bar on a terminal, apart from its title: the bar, the count, the time left."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task
from rich.text import Text

MAX_BAR, MIN_BAR = 40, 8
"""Width of the bar in characters."""


def bar_beside(num_characters: int, console: Console) -> BarColumn:
    """Return a bar that leaves room for so many characters of text on the line."""
    return BarColumn(bar_width=max(MIN_BAR, min(MAX_BAR, console.width - num_characters)))


class CountColumn(ProgressColumn):
    """`1,000 of 5,000`."""

    def render(self, task: Task) -> Text:
        """Return the count, as wide as it will be at the end."""
        total = f"{int(task.total or 0):,}"
        return Text(f"{int(task.completed):{len(total)},} of {total}")


class TimeLeftColumn(ProgressColumn):
    """`0:01:30 left`; `0:00:05 elapsed` until that is known; `took 0:02:00` at the end."""

    def render(self, task: Task) -> Text:
        """Return the time and what it is."""
        if task.finished:
            return Text(f"took {duration(task.finished_time or 0)}")
        if task.time_remaining is None:
            return Text(f"{duration(task.elapsed or 0)} elapsed")
        return Text(f"{duration(task.time_remaining)} left")


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
