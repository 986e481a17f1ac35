"""The table of epochs on the screen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar100.training.reporting.epoch_table import MAX_ROWS, SHORT_SECONDS, EpochTable, rows_apart
from cifar100.training.reporting.run_log import RunLog


@pytest.fixture
def run_log(tmp_path: Path) -> Iterator[RunLog]:
    """The log of a run, whose screen is collected in `log.console.file`."""
    log = RunLog(tmp_path / "training.log", enabled=True)
    log.console.file = io.StringIO()
    yield log
    log.close()


def add(table: EpochTable, number: int, *, of: int, seconds: float = 0.5) -> None:
    epoch = {
        **{"epoch": number, "train/loss": 1.0, "train/accuracy": 0.5, "val/loss": 1.0, "val/accuracy": 0.5},
        **{"images_per_second": 100.0, "seconds": seconds},
    }
    table.add(epoch, number=f"{number}/{of}", left="0:00:10", num_epochs=of)


def screen(log: RunLog) -> str:
    """What was shown so far."""
    file = log.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def shown_epochs(output: str) -> list[int]:
    """The epochs of the rows."""
    return [int(line.split("/")[0]) for line in output.splitlines() if line.endswith("  0:00:10")]


def test_many_short_epochs_have_a_few_rows(run_log: RunLog) -> None:
    table = EpochTable(run_log)
    table.begin(has_validation=True)
    for number in range(1, 298):  # of 300: it is stopped
        add(table, number, of=300)
    table.end()
    table.end()
    shown = screen(run_log)
    assert shown_epochs(shown) == [1, *range(10, 291, 10), 297]
    assert shown.count("one in 10 is shown. metrics.csv has all of them.") == 1
    assert len(shown.splitlines()) == 2 + 1 + 29 + 1


@pytest.mark.parametrize(("number", "seconds"), [(MAX_ROWS, 0.5), (120, SHORT_SECONDS)])
def test_few_or_long_epochs_have_all_their_rows(number: int, seconds: float, run_log: RunLog) -> None:
    table = EpochTable(run_log)
    table.begin(has_validation=True)
    for each in range(1, number + 1):
        add(table, each, of=number, seconds=seconds)
    table.end()
    assert shown_epochs(screen(run_log)) == list(range(1, number + 1))


def test_a_resumed_run_begins_with_its_first_epoch(run_log: RunLog) -> None:
    table = EpochTable(run_log)
    table.begin(has_validation=True)
    for number in range(37, 41):
        add(table, number, of=100)
    assert shown_epochs(screen(run_log)) == [37, 38, 40]


@pytest.mark.parametrize(
    ("num_epochs", "apart"), [(1, 1), (50, 1), (51, 2), (100, 2), (101, 5), (251, 10), (1000, 20), (100_000, 2000)]
)
def test_the_rows_of_short_epochs_are_a_round_number_apart(num_epochs: int, apart: int) -> None:
    assert rows_apart(0.1, num_epochs) == apart
