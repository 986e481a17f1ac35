"""The server of the demo: on this machine only, for its own page only, and for nothing but pictures."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cifar100 import commands
from cifar100.errors import UserError
from cifar100.results.demo.server import MAX_FILE_BYTES, DemoServer
from cifar100.runs.folder import RunFolder

PICTURE = {"Content-Type": "application/octet-stream"}


def answer(content: bytes) -> dict[str, Any]:
    """Count the bytes, and refuse `bad`."""
    if content == b"bad":
        raise UserError("bad is no picture.")
    return {"num_bytes": len(content)}


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer(0) as found:
        thread = threading.Thread(target=found.serve, args=("<p>page</p>", answer))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(
    server: DemoServer, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    is_json = response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(content) if is_json else content


def test_it_serves_the_page_and_answers_pictures(server: DemoServer) -> None:
    assert ask(server, "GET", "/") == (200, b"<p>page</p>")
    assert ask(server, "POST", "/answer", b"12345", PICTURE) == (200, {"num_bytes": 5})
    assert ask(server, "POST", "/answer", b"bad", PICTURE) == (422, {"problem": "bad is no picture."})
    assert ask(server, "GET", "/../secret")[0] == 404


def test_it_listens_on_the_loopback_interface_only(server: DemoServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_of_another_host_is_refused(server: DemoServer, method: str, host: str) -> None:
    assert ask(server, method, "/", b"12345", {**PICTURE, "Host": host})[0] == 403


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80"])
def test_the_names_of_this_machine_are_admitted(server: DemoServer, host: str) -> None:
    assert ask(server, "GET", "/", headers={"Host": host})[0] == 200


def test_pictures_of_other_sites_are_refused(server: DemoServer) -> None:
    assert ask(server, "POST", "/answer", b"1", {"Content-Type": "text/plain"})[0] == 403
    assert ask(server, "POST", "/answer", b"1", {**PICTURE, "Origin": "https://evil.example"})[0] == 403
    assert ask(server, "OPTIONS", "/answer")[0] == 501  # so that no browser lets another site send more


@pytest.mark.parametrize("length", [str(MAX_FILE_BYTES + 1), "9" * 5000])
def test_a_large_file_is_refused_before_it_is_read(server: DemoServer, length: str) -> None:
    status, found = ask(server, "POST", "/answer", b"", {**PICTURE, "Content-Length": length})
    assert status == 413
    assert found["problem"].startswith("this file is larger than 33,554,432 bytes")


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "all"])
def test_a_file_without_a_size_is_refused(server: DemoServer, length: str) -> None:
    headers = {**PICTURE, "Content-Length": length.encode("latin-1").decode("latin-1")}
    assert ask(server, "POST", "/answer", b"", headers)[0] == 411


def test_a_port_in_use_is_refused_before_anything_is_loaded(server: DemoServer, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("unreadable: [")  # found only when the run is loaded
    with pytest.raises(UserError, match=rf"^port {server.server_port} is in use; choose another with --port"):
        commands.demo(tmp_path, port=server.server_port)


@pytest.mark.parametrize("port", [-1, 65536, True, "80"])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(UserError, match="it must be a whole number from 0"):
        commands.demo("missing", port=port)


def test_the_command_says_where_the_page_is_and_ends_at_ctrl_c(run: RunFolder) -> None:
    command = [sys.executable, "-m", "cifar100", "demo", str(run.path), "--port", "0"]
    # On Windows Ctrl-C goes to all processes of a console, also to this one; Ctrl-Break to a group of processes.
    options = {} if os.name == "posix" else {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    number = signal.SIGINT if os.name == "posix" else signal.SIGBREAK
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes, **options) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.fullmatch(r"The demo of tiny is at http://127\.0\.0\.1:(\d+)\n", first)
        assert found, first
        assert process.stdout.readline() == "Open it in a browser on this machine. Stop it with Ctrl-C.\n"
        with socket.create_connection(("127.0.0.1", int(found[1]))) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 200 OK" in connection.recv(100)
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.CTRL_BREAK_EVENT)
        _, problems = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert problems == "cifar100: interrupted. The demo ended.\n"
