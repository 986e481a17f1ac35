"""Mirrors that hold a download: each is left within its deadline, with the reason, and without much memory."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cifar100.data.sources import download as mirrors
from cifar100.data.sources import web
from cifar100.data.sources.deadlines import Watchdog, within
from cifar100.data.sources.download import ARCHIVE, download
from cifar100.errors import UserError
from cifar100.process.memory import peak_memory

pytest.importorskip("resource", reason="Windows does not report peaks of memory in this way")

OK = b"HTTP/1.1 200 OK\r\n"
SIZE = 1_000_000

ZEROS = gzip.compress(bytes(2**20))

Attack = Callable[[socket.socket], None]


def send_slowly(connection: socket.socket, content: bytes) -> None:
    for byte in itertools.cycle(content):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def headers_byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(OK + b"X-Slow: ")
    send_slowly(connection, b"a")


def status_byte_by_byte(connection: socket.socket) -> None:
    send_slowly(connection, b"H")


def chunk_size_byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    send_slowly(connection, b"0")


def chunk_extension_byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n5;")
    send_slowly(connection, b"x")


def continue_without_end(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def continue_now_and_then(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


def redirections_without_end(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def redirection_with_a_bomb(connection: socket.socket) -> None:
    """requests would unpack the body of a redirection: here 1 GB of zeros."""
    bomb = gzip.compress(ZEROS * 1000)
    head = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Encoding: gzip, gzip\r\n"
    connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(bomb) + bomb)


def redirection_to_a_file(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")


def header_without_end(connection: socket.socket) -> None:
    connection.sendall(OK + b"X-Large: ")
    while True:
        connection.sendall(b"a" * 2**16)


def headers_without_end(connection: socket.socket) -> None:
    connection.sendall(OK)
    while True:
        connection.sendall(b"X-Many: a\r\n" * 1000)


def bomb_of_the_right_length(connection: socket.socket) -> None:
    bomb = (ZEROS * 900).ljust(SIZE, b"\0")
    connection.sendall(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % SIZE + bomb)


def wrong_length(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 10000000000000000000000\r\n\r\n")


def negative_length(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: -1\r\n\r\n")


def huge_chunk(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFF\r\n")
    time.sleep(12)


def no_http(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH\r\n\x1b]52;c;\x07\r\n")


def content_byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % SIZE)
    send_slowly(connection, b"a")


def says_nothing(connection: socket.socket) -> None:
    time.sleep(12)


ATTACKS: dict[Attack, str] = {
    headers_byte_by_byte: "no answer in time",
    status_byte_by_byte: "no answer in time",
    chunk_size_byte_by_byte: "sent nothing for 0.5 s",
    chunk_extension_byte_by_byte: "sent nothing for 0.5 s",
    continue_without_end: "no answer in time",
    continue_now_and_then: "no answer in time",
    redirections_without_end: "more than 5 redirections",
    redirection_with_a_bomb: "more than 5 redirections",
    redirection_to_a_file: "no connection",
    header_without_end: "no connection",
    headers_without_end: "no connection",
    bomb_of_the_right_length: "wrong checksum",
    wrong_length: "offers 10000000000000000000000 bytes, expected 1,000,000",
    negative_length: "offers -1 bytes",
    huge_chunk: "sent nothing for 0.5 s",
    no_http: "no connection",
    content_byte_by_byte: "too slow",
    says_nothing: "no answer in time",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(mirrors, "ARCHIVE_BYTES", SIZE)
    monkeypatch.setattr(web, "CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(web, "ANSWER_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(mirrors, "STALL_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(mirrors, "SPEED_WINDOW_SECONDS", 0.3)
    monkeypatch.setattr(mirrors, "PATIENT_WINDOW_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def serve(listening: socket.socket, attack: Attack) -> None:
    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(2**16)
                attack(connection)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(2**16)
            except OSError:  # the client has gone
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # the end of the test
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def use(monkeypatch: pytest.MonkeyPatch, listening: socket.socket, scheme: str = "http") -> None:
    monkeypatch.setattr(mirrors, "MIRRORS", (f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/{ARCHIVE}",))


def refused(folder: Path) -> tuple[str, float]:
    """The message, and how long it took."""
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        download(folder)
    return str(caught.value), time.monotonic() - started


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_mirror_holds_a_download(
    attack: Attack, server: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, server)
    serve(server, attack)
    before = peak_memory() or 0
    message, seconds = refused(tmp_path)
    assert ATTACKS[attack] in message
    assert message.isprintable()
    assert seconds < 10  # two turns take less than two seconds if nothing else computes
    assert (peak_memory() or 0) - before < 300e6
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog of a download"]


def test_a_handshake_that_stalls(server: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, server, "https")

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 kB
        send_slowly(connection, b"\x02")

    serve(server, trickle)
    message, seconds = refused(tmp_path)
    assert "no answer in time" in message
    assert seconds < 10


def test_a_server_that_accepts_nothing(tmp_path: Path, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for connection in waiting:  # fill the queue
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        use(monkeypatch, full)
        message, seconds = refused(tmp_path)
        assert "no answer in time" in message
        assert seconds < 10
        for connection in waiting:
            connection.close()


def test_a_name_that_is_looked_up_for_ever(
    tmp_path: Path, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "MIRRORS", (f"http://mirror.example/{ARCHIVE}",))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(12))
    message, seconds = refused(tmp_path)
    assert "no answer in time" in message
    assert seconds < 10


def test_a_watchdog_lets_go_what_is_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Watchdog(0.3) as watchdog:
        watchdog.watch(ours)
        for _ in range(4):
            time.sleep(0.15)
            watchdog.allow(0.3)
        theirs.sendall(b"here")
        assert ours.recv(4) == b"here"
        assert not watchdog.has_expired
        assert ours.recv(4) == b""  # nothing comes any more
        assert watchdog.has_expired


def test_an_error_and_a_result_pass_through() -> None:
    assert within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(0.5))
