from __future__ import annotations

import errno
import hashlib
import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cifar100.data.sources import download as mirrors
from cifar100.data.sources import web
from cifar100.data.sources.download import ARCHIVE, download
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument

CONTENT = bytes(range(256)) * 4000
"""Stands for the archive; about 1 MB."""

Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]
"""What a mirror sends from a position on."""


def whole(handler, start):
    """A good server, which can resume."""
    send_head(handler, start)
    handler.wfile.write(CONTENT[start:])


def whole_only(handler, start):
    """A server that ignores the position."""
    send_head(handler, 0)
    handler.wfile.write(CONTENT)


def missing(handler, start):
    handler.send_error(404)


def wrong_bytes(handler, start):
    send_head(handler, start)
    handler.wfile.write(bytes(len(CONTENT) - start))


def web_page(handler, start):
    handler.send_response(200)
    handler.send_header("Content-Length", "6")
    handler.end_headers()
    handler.wfile.write(b"<html>")


def endless(handler, start):
    """Says no length and sends without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(2**16))


def half(handler, start):
    """Breaks off after half of what it announced."""
    send_head(handler, start)
    handler.wfile.write(CONTENT[start : (start + len(CONTENT)) // 2])


def half_without_length(handler, start):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT[: len(CONTENT) // 2])


def stalled(handler, start):
    """Sends a quarter, then nothing more, but keeps the connection."""
    send_head(handler, start)
    handler.wfile.write(CONTENT[start : start + len(CONTENT) // 4])
    time.sleep(2.5)


def silent(handler, start):
    """Accepts the connection and says nothing."""
    time.sleep(2.5)


def slow(handler, start):
    """Sends 1 MB/s."""
    send_head(handler, start)
    for position in range(start, len(CONTENT), 50_000):
        handler.wfile.write(CONTENT[position : position + 50_000])
        time.sleep(0.05)


def wrong_range(handler, start):
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.end_headers()
    handler.wfile.write(CONTENT)


def declared_encoding(handler, start):
    """A server that declares the archive's own gzip as the encoding of the transfer."""
    send_head(handler, 0, ("Content-Encoding", "x-gzip"))
    handler.wfile.write(CONTENT)


def send_head(handler, start, *more):
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.send_header("Content-Length", str(len(CONTENT) - start))
    for name, value in more:
        handler.send_header(name, value)
    handler.end_headers()


class Mirrors:
    """Mirrors on this machine, one for each answer, and what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[tuple[str, int]] = []
        self.answers: dict[str, Answer] = {}
        self.monkeypatch = monkeypatch
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.split("/")[1]
                start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                test.requests.append((name, start))
                try:
                    test.answers[name](self, start)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def use(self, *answers: Answer) -> None:
        self.answers = {answer.__name__: answer for answer in answers}
        host, port = self.server.server_address
        urls = tuple(f"http://{host}:{port}/{name}/{ARCHIVE}" for name in self.answers)
        self.monkeypatch.setattr(mirrors, "MIRRORS", urls)


@pytest.fixture
def servers(monkeypatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(mirrors, "ARCHIVE_BYTES", len(CONTENT))
    monkeypatch.setattr(mirrors, "ARCHIVE_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(mirrors, "STALL_TIMEOUT_SECONDS", 0.75)
    monkeypatch.setattr(web, "ANSWER_TIMEOUT_SECONDS", 0.75)
    servers = Mirrors(monkeypatch)
    yield servers
    servers.server.shutdown()
    servers.server.server_close()


def assert_only_archive(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == [ARCHIVE]
    assert (folder / ARCHIVE).read_bytes() == CONTENT


def test_the_constants_are_those_of_the_official_archive():
    assert mirrors.ARCHIVE_BYTES == 169_001_437
    assert mirrors.ARCHIVE_SHA256 == "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    assert mirrors.MIRRORS[0] == "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    assert len(mirrors.MIRRORS) > 1
    assert all(url.startswith("https://") and url.endswith(f"/{ARCHIVE}") for url in mirrors.MIRRORS)


def test_download_names_the_mirror_and_makes_the_folder(servers, tmp_path, capfd):
    servers.use(whole)
    folder = tmp_path / "new" / "folder"
    assert download(folder) == folder / ARCHIVE
    assert_only_archive(folder)
    output = capfd.readouterr()
    assert output.out == ""
    host, port = servers.server.server_address
    first, last = output.err.splitlines()  # no terminal: no bar
    assert first == f"downloading {ARCHIVE} (1 MB) from {host}:{port}"
    assert last.startswith(f"{ARCHIVE}: 1 MB in ")


def test_an_intact_archive_is_used_without_the_network(servers, tmp_path, capfd):
    servers.use()
    (tmp_path / ARCHIVE).write_bytes(CONTENT)
    assert download(tmp_path) == tmp_path / ARCHIVE
    assert servers.requests == []
    assert capfd.readouterr().err == ""


def test_a_damaged_archive_is_replaced(servers, tmp_path, capfd):
    servers.use(whole)
    (tmp_path / ARCHIVE).write_bytes(CONTENT[:-1])
    download(tmp_path)
    assert_only_archive(tmp_path)
    assert "wrong checksum" in capfd.readouterr().err


def test_a_damaged_archive_is_kept_while_there_is_no_better_one(servers, tmp_path):
    servers.use(missing)
    (tmp_path / ARCHIVE).write_bytes(b"my only copy")
    with pytest.raises(UserError):
        download(tmp_path)
    assert (tmp_path / ARCHIVE).read_bytes() == b"my only copy"


FIRST_MIRROR = {
    missing: "HTTP 404",
    wrong_bytes: "wrong checksum",
    web_page: "offers 6 bytes, expected 1,024,000",
    endless: "sent more than the expected 1,024,000 bytes",
    half: "broke off",
    half_without_length: "broke off at 512,000 bytes",
    stalled: "sent nothing for 0.75 s",
    silent: "no answer in time",
}


@pytest.mark.parametrize(("first", "problem"), FIRST_MIRROR.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_the_next_mirror_is_tried(first, problem, servers, tmp_path, capfd):
    servers.use(first, whole)
    download(tmp_path)
    assert_only_archive(tmp_path)
    assert [name for name, _ in servers.requests] == [first.__name__, "whole"]
    assert problem in capfd.readouterr().err


@pytest.mark.parametrize("first", [half, stalled])
def test_the_next_mirror_resumes(first, servers, tmp_path, capfd):
    servers.use(first, whole)
    download(tmp_path)
    assert servers.requests[1] == ("whole", 512_000 if first is half else 256_000)
    assert "resuming cifar-100-python.tar.gz (from " in capfd.readouterr().err


def test_a_mirror_that_cannot_resume_begins_again(servers, tmp_path):
    servers.use(half, whole_only)
    download(tmp_path)
    assert servers.requests == [("half", 0), ("whole_only", 512_000)]
    assert_only_archive(tmp_path)


def test_a_mirror_that_sends_another_part_is_left(servers, tmp_path, capfd):
    servers.use(half, wrong_range, whole)
    download(tmp_path)
    assert "sent another part than requested" in capfd.readouterr().err
    assert_only_archive(tmp_path)


def test_the_bytes_are_taken_as_they_are(servers, tmp_path):
    servers.use(declared_encoding)
    download(tmp_path)
    assert_only_archive(tmp_path)


def test_the_next_call_resumes_an_interrupted_download(servers, tmp_path):
    servers.use(half)
    with pytest.raises(UserError, match="broke off"):
        download(tmp_path)
    assert servers.requests == [("half", 0), ("half", 512_000)]
    servers.use(whole)
    download(tmp_path)
    assert servers.requests[2:] == [("whole", 768_000)]
    assert_only_archive(tmp_path)


def test_a_complete_partial_file_is_not_trusted(servers, tmp_path):
    servers.use(whole)
    (tmp_path / f"{ARCHIVE}.part").write_bytes(bytes(len(CONTENT)))
    download(tmp_path)
    assert_only_archive(tmp_path)


def test_a_damaged_partial_file_costs_one_more_turn(servers, tmp_path):
    servers.use(whole)
    (tmp_path / f"{ARCHIVE}.part").write_bytes(b"damaged")
    download(tmp_path)
    assert servers.requests == [("whole", 7), ("whole", 0)]
    assert_only_archive(tmp_path)


def test_a_slow_mirror_is_left_while_there_are_others(servers, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(mirrors, "SPEED_WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(mirrors, "MIN_BYTES_PER_SECOND", 3_000_000)
    servers.use(slow, whole)
    download(tmp_path)
    assert [name for name, _ in servers.requests] == ["slow", "whole"]
    assert "too slow (" in capfd.readouterr().err
    assert_only_archive(tmp_path)


def test_the_fastest_of_the_slow_mirrors_gets_a_second_turn(servers, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "SPEED_WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(mirrors, "MIN_BYTES_PER_SECOND", 3_000_000)

    def slower(handler, start):
        send_head(handler, start)
        for position in range(start, start + 50_000, 1000):
            handler.wfile.write(CONTENT[position : position + 1000])
            time.sleep(0.05)

    servers.use(slower, missing, slow)
    download(tmp_path)
    assert [name for name, _ in servers.requests] == ["slower", "missing", "slow", "slow"]
    assert_only_archive(tmp_path)


def test_one_error_names_every_mirror_and_the_way_out(servers, tmp_path):
    servers.use(missing, wrong_bytes, web_page, half)
    with pytest.raises(UserError) as caught:
        download(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "HTTP 404",
        "wrong checksum",
        "offers 6 bytes",
        "broke off",
        f"cifar100 prepare --source PATH --root {as_argument(tmp_path)}",
    ):
        assert part in message
    assert mirrors.MIRRORS[0] in message
    assert not (tmp_path / ARCHIVE).exists()


def test_without_a_network(servers, tmp_path, monkeypatch):
    unused_port = servers.server.server_address[1]
    servers.server.shutdown()
    servers.server.server_close()
    monkeypatch.setattr(
        mirrors, "MIRRORS", (f"http://127.0.0.1:{unused_port}/{ARCHIVE}", f"http://name.invalid/{ARCHIVE}")
    )
    with pytest.raises(UserError, match=rf"\(127.0.0.1:{unused_port}: no connection; name.invalid: no connection\)"):
        download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_noticed_before_the_download(servers, tmp_path, monkeypatch):
    servers.use(whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match="has 0 MB free, expected at least 1 MB"):
        download(tmp_path)
    assert servers.requests == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "change its permissions"),
        (errno.EACCES, "change its permissions"),
    ],
)
def test_our_own_disk_is_not_blamed_on_the_mirror(code, advice, servers, tmp_path, monkeypatch):
    servers.use(whole, whole_only)
    error = OSError(code, "the reason")

    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(mirrors, "_receive", refuse)
    with pytest.raises(UserError, match=rf"cannot be written \(the reason\); {advice} or choose another folder"):
        download(tmp_path)
    assert len(servers.requests) == 1


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; move away what is in its place"):
        download(tmp_path / "file")


def test_a_terminal_gets_a_progress_bar(servers, tmp_path, monkeypatch, capfd):
    servers.use(whole)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    download(tmp_path)
    assert "1.0/1.0 MB" in capfd.readouterr().err
