"""Serve the page on this machine: one page, and one address that answers a picture.

The standard library's server suffices for one person on one machine. It listens on the loopback interface only. A page
of another site, which the same browser shows, gets nothing from it: names of other hosts are refused (DNS rebinding),
and so are pictures that such a page sends.
"""

from __future__ import annotations

import errno
import json
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cifar100.config.shown_values import shown
from cifar100.errors import UserError

if TYPE_CHECKING:
    from cifar100.results.demo.answers import Answering

HOST = "127.0.0.1"
LOCAL_NAMES = {"127.0.0.1", "localhost", "::1"}

MAX_FILE_BYTES = 32 * 2**20
"""Of a picture. Photographs of phones have up to 20 MB."""

SECONDS_TO_WAIT = 30
"""For the next bytes of a request."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


MAX_PORT = 65535


def check_port(port: int) -> None:
    """Refuse what is no port.

    Raises:
        UserError: says what is expected.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= MAX_PORT:
        raise UserError(f"--port is {shown(port)}, but it must be a whole number from 0 (any free one) to {MAX_PORT}.")


class DemoServer(ThreadingHTTPServer):
    """Holds a port from the start. A browser that comes before `serve` waits for it.

    Args:
        port: 0 for any free one.

    Raises:
        UserError: the port is in use, or may not be used.
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there, it would share the port with another program

    page: bytes
    answering: Answering

    def __init__(self, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UserError(f"port {port} {what}; choose another with --port, or 0 for any free port.") from error

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{HOST}:{self.server_port}"

    def serve(self, page: str, answering: Answering) -> None:
        """Serve a page, HTML, and answer pictures, until an exception such as that of a signal."""
        self.page, self.answering = page.encode(), answering
        self.serve_forever()

    def server_bind(self) -> None:
        """Bind without a look-up of the host's name, which asks a name server on some machines."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the traceback of a bug; a browser that has gone away is none."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    timeout = SECONDS_TO_WAIT
    server_version, sys_version = "cifar100", ""

    def do_GET(self) -> None:  # the name that the base class calls
        """Send the page."""
        if "Host" in self.headers and not self._is_local():
            self._send_problem(HTTPStatus.FORBIDDEN, "this page is for this machine only.")
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        else:
            self._send_problem(HTTPStatus.NOT_FOUND, "there is nothing here.")

    def do_POST(self) -> None:
        """Answer a picture."""
        if not self._is_local() or not self._is_from_this_page():
            self._send_problem(HTTPStatus.FORBIDDEN, "pictures are taken from this page only.")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._send_problem(HTTPStatus.LENGTH_REQUIRED, "the size of the file is missing.")
        elif len(length) > 15 or int(length) > MAX_FILE_BYTES:
            problem = f"this file is larger than {MAX_FILE_BYTES:,} bytes; scale the picture down."
            self._send_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, content: bytes) -> None:
        try:
            answer = self.server.answering(content)
        except UserError as error:
            self._send_problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except Exception:
            self._send_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the demo failed; see its terminal for the reason.")
            raise
        else:
            self._send(HTTPStatus.OK, "application/json", json.dumps(answer).encode())

    def _is_local(self) -> bool:
        return _host_name(f"//{self.headers.get('Host', '')}") in LOCAL_NAMES

    def _is_from_this_page(self) -> bool:
        """Return whether a script of this page has sent the request.

        A browser lets other sites send this content type only if the server agrees beforehand, which it never does.
        """
        origin = self.headers.get("Origin")
        is_of_this_page = origin is None or origin == f"http://{self.headers.get('Host')}"
        return is_of_this_page and self.headers.get("Content-Type") == "application/octet-stream"

    def _send_problem(self, status: HTTPStatus, problem: str) -> None:
        self.close_connection = True  # what was sent with the request is not read
        self._send(status, "application/json", json.dumps({"problem": problem}).encode())

    def _send(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": content_type, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
        """Print nothing: a line for each request says nothing to a person."""


def _host_name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
