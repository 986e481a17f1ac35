"""The report of a finished run that its trackers keep. The packages of the report are loaded when it is written."""

from __future__ import annotations

from pathlib import Path

from cifar100.runs.folder import RunFolder


def write_tracked_report(run: RunFolder) -> Path:
    """Write the report of a run, and return its path.

    Raises:
        UserError: as `write_report`.
    """
    from cifar100.results.report.page import write_report

    return write_report([run])
