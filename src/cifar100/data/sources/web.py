"""Ask a server for a file. It cannot hold the program, and its answer is taken as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from cifar100.data.sources.deadlines import Session, Watchdog

CONNECT_TIMEOUT_SECONDS = 10.0
ANSWER_TIMEOUT_SECONDS = 30.0
"""A server whose answer is not complete by then, with all redirections, is abandoned."""

SMALL_FILE_SECONDS = 60.0
"""A small file that is not complete by then is abandoned."""

MAX_REDIRECTIONS = 5

_BLOCK_BYTES = 2**16


class ServerError(Exception):
    """The reason why a server did not deliver.

    Unlike the exceptions of requests it is not an OSError, so that every OSError is about our own disk.
    """

    def __init__(self, message: str, *, bytes_per_second: float | None = None) -> None:
        super().__init__(message)
        self.bytes_per_second = bytes_per_second
        """None if a second turn is pointless."""


def host(url: str) -> str:
    """Return the name of the server, for messages."""
    return urlsplit(url).netloc


@contextmanager
def answering(url: str, headers: Mapping[str, str] | None = None) -> Iterator[tuple[requests.Response, Watchdog]]:
    """Yield the answer of a server, whose content is not read yet, and the watchdog of its connection.

    Whatever is read of the content needs a new deadline: `watchdog.allow`.

    Raises:
        ServerError: there is no answer in time, or none that can be trusted; also for errors of requests in the block.
    """
    # Some servers declare the gzip of an archive as the encoding of the transfer: take the bytes as they are.
    asked = {"Accept-Encoding": "identity"} | dict(headers or {})
    watchdog = Watchdog(ANSWER_TIMEOUT_SECONDS)
    try:
        with (
            watchdog,
            Session(watchdog, connect_seconds=CONNECT_TIMEOUT_SECONDS) as session,
            _get(session, url, asked) as response,
        ):
            if watchdog.has_expired:  # headers that were cut off look complete
                raise ServerError("no answer in time")
            yield response, watchdog
    except requests.exceptions.RequestException as error:
        raise ServerError(_describe(error, watchdog)) from error


def fetch_verified(url: str, *, sha256: str, num_bytes: int) -> bytes:
    """Return a small file whose size and checksum are known.

    Raises:
        ServerError: the server does not deliver exactly this file within `SMALL_FILE_SECONDS`.
    """
    with answering(url) as (response, watchdog):
        length = response.headers.get("Content-Length")
        if response.status_code != 200:
            raise ServerError(f"HTTP {response.status_code}")
        if length is not None and length != str(num_bytes):
            raise ServerError(f"offers {length} bytes, expected {num_bytes:,}")
        watchdog.allow(SMALL_FILE_SECONDS)
        content = _read(response, watchdog, most=num_bytes)
    if len(content) < num_bytes:
        raise ServerError(f"broke off at {len(content):,} bytes")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ServerError("wrong checksum")
    return content


def fetch(url: str, *, max_bytes: int) -> bytes:
    """Return a file of which nothing is known.

    Raises:
        ServerError: the server does not deliver it within `SMALL_FILE_SECONDS`, or it is larger than `max_bytes`.
    """
    with answering(url) as (response, watchdog):
        if response.status_code != 200:
            raise ServerError(f"HTTP {response.status_code}")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > max_bytes:
            raise ServerError(f"offers {length[:20]} bytes, expected at most {max_bytes}")
        watchdog.allow(SMALL_FILE_SECONDS)
        return _read(response, watchdog, most=max_bytes)


def _read(response: requests.Response, watchdog: Watchdog, *, most: int) -> bytes:
    content = bytearray()
    late = f"took longer than {SMALL_FILE_SECONDS:g} s"
    try:
        while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
            content += block
            if len(content) > most:
                raise ServerError(f"sent more than the expected {most:,} bytes")
    except urllib3.exceptions.HTTPError as error:
        raise ServerError(late if watchdog.has_expired else "broke off") from error
    if watchdog.has_expired:
        raise ServerError(late)
    return bytes(content)


def _get(session: Session, url: str, headers: Mapping[str, str]) -> requests.Response:
    """Return the answer of a server, or of the one that it names instead; its content is not read yet."""
    for _ in range(MAX_REDIRECTIONS + 1):
        # The watchdog ends what takes too long; its connections need no timeouts of their own, except to be opened.
        response = session.get(url, headers=headers, timeout=(CONNECT_TIMEOUT_SECONDS, None), stream=True)
        target = session.get_redirect_target(response)
        if target is None:
            return response
        response.close()
        url = urljoin(url, target)
    raise ServerError(f"more than {MAX_REDIRECTIONS} redirections")


def _describe(error: requests.exceptions.RequestException, watchdog: Watchdog) -> str:
    if watchdog.has_expired or isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    return "no trusted certificate" if isinstance(error, requests.exceptions.SSLError) else "no connection"
