"""A PostgreSQL server of the system on loopback, in a temporary folder; tests that need it are skipped without it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "not-to-be-shown"


def programs() -> Path | None:
    """Folder of initdb and pg_ctl; Debian's is not on the path."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return Path(found).resolve().parent if found else folders[-1] if folders else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of an empty database, with its password; the server ends with the block."""
    folder = programs() if os.name == "posix" else None
    if folder is None:
        pytest.skip("needs a PostgreSQL server (Debian: apt-get install postgresql)")
    account = None
    if os.geteuid() == 0:  # the server refuses root
        import pwd  # POSIX only

        names = [entry.pw_name for entry in pwd.getpwall()]
        account = next((name for name in ("postgres", "nobody") if name in names), None)
        if account is None:
            pytest.skip("PostgreSQL refuses root, and there is no account postgres or nobody")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as temporary:  # a short path: sockets allow 107 bytes
        root = Path(temporary)
        (root / "password").write_text(PASSWORD)
        if account is not None:
            shutil.chown(root, account)
            shutil.chown(root / "password", account)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(folder / program), *arguments], check=True, capture_output=True, timeout=60, user=account, cwd=root
            )

        port, data = free_port(), root / "data"
        run("initdb", "-D", str(data), "-U", "tester", "-A", "scram-sha-256", f"--pwfile={root / 'password'}", "-N")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {root} -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(root / "log"), "-o", options, "start")
        try:
            yield f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
