"""HTTP with deadlines: a server that sends a byte now and then cannot hold the connection.

The timeouts of requests and urllib3 restart with every byte. A `Watchdog` shuts the connection down instead,
whatever is being read: TLS, headers, the size of a chunk.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.1


class Watchdog:
    """Shuts down the connections of a session when a deadline passes. A context manager; see `allow`."""

    def __init__(self, seconds: float) -> None:
        self.allow(seconds)
        self._expired = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="watchdog of a download", daemon=True)

    @property
    def has_expired(self) -> bool:
        """Whether a deadline has passed."""
        return self._expired.is_set()

    def allow(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self._deadline = time.monotonic() + seconds

    def watch(self, connection: socket.socket) -> None:
        """Shut `connection` down when the deadline passes, also if TLS takes over its descriptor."""
        with self._lock:
            self._connections.append(connection.dup())

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            if time.monotonic() < self._deadline:
                continue
            self._expired.set()
            with self._lock:
                for connection in self._connections:
                    try:
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:  # the server has closed it
                        continue


class Session(requests.Session):
    """A session of one download. It returns redirections instead of following them: requests would read their bodies.

    Args:
        watchdog: shuts its connections down.
        connect_seconds: deadline for the look-up of a name and the connection together.
    """

    def __init__(self, watchdog: Watchdog, *, connect_seconds: float) -> None:
        super().__init__()
        adapter = _Adapter(watchdog, connect_seconds)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[requests.Response]:  # type: ignore[override]
        """Follow none."""
        return iter(())


class _Adapter(HTTPAdapter):
    """Makes connections that a watchdog knows."""

    def __init__(self, watchdog: Watchdog, connect_seconds: float) -> None:
        self._pools = _pools(watchdog, connect_seconds)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Create the manager of direct connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> PoolManager:
        """Return the manager of connections through a proxy."""
        manager: PoolManager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(watchdog: Watchdog, connect_seconds: float) -> dict[str, Any]:
    """Return urllib3's classes of connections, changed in how they open a socket."""

    def opened(connection: Any, open_socket: Callable[[], socket.socket]) -> socket.socket:
        try:
            sock = within(connect_seconds, open_socket)
        except TimeoutError as error:
            raise ConnectTimeoutError(connection, f"no connection within {connect_seconds:g} s") from error
        watchdog.watch(sock)
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return opened(self, super()._new_conn)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return opened(self, super()._new_conn)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Return the result of a function that cannot be interrupted, such as the look-up of a name.

    Raises:
        TimeoutError: it takes longer; its thread is left to itself.
        Exception: what the function raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
