"""The published lists: downloaded once from a server on this machine, verified, kept; and what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cifar100.data.sources import published_lists, web
from cifar100.data.sources.published_lists import DUPLICATES, LABEL_ERRORS, PublishedList, read_custom, read_published
from cifar100.errors import UserError

CONTENT = b"TestID,TrainID,Distance,Judgment\r\n" + b"".join(b"%d,%d,0.5,1\r\n" % (i, i) for i in range(500))

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def send(handler: http.server.BaseHTTPRequestHandler, content: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(content)


def whole(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT, len(CONTENT))


def without_length(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT)


def wrong_bytes(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, bytes(len(CONTENT)), len(CONTENT))


def web_page(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"<html>sign in</html>", 20)


def web_page_without_length(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"<html>sign in</html>")


def missing(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(2**16))


def half(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT[: len(CONTENT) // 2], len(CONTENT))


def drop_by_drop(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"", len(CONTENT))
    for byte in CONTENT:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(12)


class Server:
    """A server on this machine that publishes the list, and the number of its requests."""

    def __init__(self) -> None:
        self.num_requests = 0
        self.answer: Answer = whole
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                test.num_requests += 1
                try:
                    test.answer(self)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.list = replace(
            DUPLICATES,
            url=f"http://127.0.0.1:{self.server.server_address[1]}/list.csv",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            num_bytes=len(CONTENT),
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "ANSWER_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(web, "SMALL_FILE_SECONDS", 0.5)
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.mark.parametrize("published", [DUPLICATES, LABEL_ERRORS], ids=lambda published: published.name)
def test_a_list_is_named_by_a_commit_and_a_whole_checksum(published: PublishedList) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", published.sha256)
    assert re.fullmatch(
        rf"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{{40}}/\w+/{re.escape(published.name)}",
        published.url,
    )
    assert published.num_bytes < published_lists.MAX_LIST_BYTES


@pytest.mark.parametrize("answer", [whole, without_length])
def test_a_list_is_downloaded_once_and_kept(
    answer: Answer, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answer = answer
    first = read_published(server.list, tmp_path)
    assert capfd.readouterr().err.startswith("downloading duplicates_cifar100.csv (7 kB) from 127.0.0.1:")
    second = read_published(server.list, tmp_path)
    assert first == second
    assert (first.content, first.is_published, first.title) == (CONTENT, True, "ciFAIR's list of near-duplicates")
    assert server.num_requests == 1
    assert capfd.readouterr().err == ""
    assert [path.name for path in tmp_path.iterdir()] == [DUPLICATES.name]


def test_a_kept_list_that_is_damaged_is_replaced(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DUPLICATES.name).write_bytes(CONTENT[:-1])
    assert read_published(server.list, tmp_path).content == CONTENT
    assert "wrong checksum" in capfd.readouterr().err
    assert (tmp_path / DUPLICATES.name).read_bytes() == CONTENT


def test_a_fifo_in_its_place_does_not_block(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / DUPLICATES.name)
    assert read_published(server.list, tmp_path).content == CONTENT
    assert (tmp_path / DUPLICATES.name).read_bytes() == CONTENT


PROBLEMS: dict[Answer, str] = {
    wrong_bytes: "wrong checksum",
    web_page: f"offers 20 bytes, expected {len(CONTENT):,}",
    web_page_without_length: "broke off at 20 bytes",
    missing: "HTTP 404",
    endless: f"sent more than the expected {len(CONTENT):,} bytes",
    half: "broke off",
    drop_by_drop: "took longer than 0.5 s",
    silent: "no answer in time",
}


@pytest.mark.parametrize("answer", PROBLEMS, ids=lambda answer: answer.__name__)
def test_one_line_says_what_is_wrong_and_what_to_do(answer: Answer, server: Server, tmp_path: Path) -> None:
    server.answer = answer
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_published(server.list, tmp_path)
    assert time.monotonic() - started < 10
    message = str(caught.value)
    assert message.isprintable()
    for part in (PROBLEMS[answer], "check the network", server.list.url, "--duplicates FILE"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_without_a_network(server: Server, tmp_path: Path) -> None:
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(UserError, match=r"could not be downloaded \(127\.0\.0\.1:\d+: no connection\)"):
        read_published(server.list, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_cannot_be_kept_is_used_all_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(published_lists, "write_atomically", refuse)
    assert read_published(server.list, tmp_path).content == CONTENT
    assert "cannot be written (Read-only file system)" in capfd.readouterr().err


def test_a_custom_list_is_named_by_its_path(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(b"anything")
    found = read_custom(server.list, path)
    assert (found.content, found.title, found.is_published) == (b"anything", str(path), False)
    path.write_bytes(CONTENT)
    assert read_custom(server.list, path).is_published
    assert server.num_requests == 0


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", published_lists.MAX_LIST_BYTES + 1)
    found = {
        "missing": "No such file",
        "fifo": "is not a regular file (a FIFO)",
        "link": "which does not exist",
        ".": "is not a regular file (a folder)",
        "large": "larger than 16,777,216 bytes",
    }
    for name, problem in found.items():
        with pytest.raises(UserError, match=re.escape(problem)) as caught:
            read_custom(LABEL_ERRORS, tmp_path / name)
        assert "--label-errors" in str(caught.value)
