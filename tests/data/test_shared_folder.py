"""Several processes on one data folder, and processes that are killed while they prepare it."""

from __future__ import annotations

import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, paint
from fabricated_release import fabricate, python_files, write_tar

from cifar100.data import description
from cifar100.data.folder.changes import find_changes
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.ownership import LOCK, writing_alone
from cifar100.data.folder.record import RECORD
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.sources.shapes100 import draw

PREPARE = """
import sys; from pathlib import Path
from cifar100.data.sources import shapes100
release = shapes100.draw(train_per_class=int(sys.argv[2]), test_per_class=2)
shapes100.draw = lambda: release
from cifar100.data.prepare import prepare
prepare(source="generated", root=Path(sys.argv[1]))
"""

PREPARE_CUSTOM = """
import sys; from pathlib import Path
from cifar100.data.prepare import prepare
prepare(source="download", root=Path(sys.argv[1]))
"""

DOWNLOAD = """
import hashlib, sys; from pathlib import Path
from cifar100.data import description
from cifar100.data.sources import download
content = Path(sys.argv[2]).read_bytes()
download.ARCHIVE_BYTES, download.ARCHIVE_SHA256 = len(content), hashlib.sha256(content).hexdigest()
download.MIRRORS = (sys.argv[3],)
description._origin = lambda *_: "official"
from cifar100.data.prepare import prepare
prepare(source="download", root=Path(sys.argv[1]))
"""

LOAD = """
import sys; from pathlib import Path
from cifar100.data.folder.layout import DataFolder
from cifar100.data.prepare import ensure_prepared
info = ensure_prepared("download", Path(sys.argv[1]))
for _ in range(50):
    images, labels = DataFolder(Path(sys.argv[1])).load("train")
    assert len(images) == info.num_train
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    """Wait for processes, which must succeed, and return what they said."""
    said = ["".join(process.communicate(timeout=120)) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def files_below(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()} - {Path(LOCK)}


def assert_whole(root: Path) -> None:
    folder = DataFolder(root)
    assert not find_changes(folder, folder.info(), thorough=True)
    assert not list(root.rglob("*.partial"))
    assert {path.name for path in root.iterdir() if path.name.startswith(".")} <= {RECORD, LOCK}


@contextmanager
def slow_server(content: bytes, requests: list[str]) -> Iterator[str]:
    """Serve `content` on this machine, in ten parts, so that the downloads overlap."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            part = len(content) // 10 + 1
            for position in range(0, len(content), part):
                self.wfile.write(content[position : position + part])
                time.sleep(0.1)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/archive"
        server.shutdown()


def test_two_preparations_of_a_folder_follow_one_another(tmp_path: Path) -> None:
    root = tmp_path / "root"
    said = finish(*(start(PREPARE, root, 6) for _ in range(3)))
    assert_whole(root)
    assert sum("Writing train images" in one for one in said) == 1


def test_the_second_process_says_for_whom_it_waits(tmp_path: Path) -> None:
    root = make_custom(tmp_path / "root")
    with writing_alone(root):
        second = start(PREPARE_CUSTOM, root)
        assert second.stderr is not None
        line = second.stderr.readline()
        assert line.startswith(f"cifar100: the data folder {root} is in use by process ")
        assert line.endswith("; waiting for it.\n")
        assert second.poll() is None
    finish(second)
    assert_whole(root)


def test_two_downloads_into_a_folder_fetch_the_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_origin", lambda *_: "official")
    archive = write_tar(python_files(fabricate(num_train=24, num_test=8)), tmp_path / "archive.tar.gz")
    requests: list[str] = []
    with slow_server(archive.read_bytes(), requests) as url:
        root = tmp_path / "root"
        finish(*(start(DOWNLOAD, root, archive, url) for _ in range(3)))
    assert len(requests) == 1
    assert_whole(root)
    assert not list(root.glob("*.part"))


def test_training_data_are_read_while_another_process_prepares_custom_data(tmp_path: Path) -> None:
    root = make_custom(tmp_path / "pets")
    finish(*(start(program, root) for program in (PREPARE_CUSTOM, LOAD, PREPARE_CUSTOM)))
    assert_whole(root)
    readers = [start(LOAD, root) for _ in range(2)]
    paint(root / "train_images/00.png", "red", seed=99)  # the same number of images: readers see either content
    finish(*readers, start(PREPARE_CUSTOM, root))
    assert_whole(root)


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = (
        "import sys, time; from pathlib import Path; from cifar100.data.folder.ownership import writing_alone\n"
        "with writing_alone(Path(sys.argv[1])):\n    print('locked', flush=True); time.sleep(60)\n"
    )
    process = start(program, root)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    process.kill()
    process.communicate()
    finish(start(PREPARE, root, 1))
    assert_whole(root)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("kind", ["release", "custom"])
def test_killed_at_fifty_random_moments_the_next_preparation_leaves_a_whole_folder(kind: str, tmp_path: Path) -> None:
    generator = random.Random(0)
    reference = tmp_path / "reference"
    if kind == "release":
        program, arguments = PREPARE, ("6",)
        prepare_release(draw(train_per_class=6, test_per_class=2), reference)
    else:
        program, arguments = PREPARE_CUSTOM, ()
        make_custom(reference, train=200, val=20, test=40)
        finish(start(program, reference))
    finish(
        start(program, tmp_path / "warm" if kind == "release" else reference, *arguments)
    )  # imports are cached from now on
    started = time.monotonic()
    finish(start(program, tmp_path / "timed" if kind == "release" else reference, *arguments))
    longest = time.monotonic() - started
    killed = 0
    for number in range(50):
        root = tmp_path / f"root{number}"
        if kind == "custom":
            make_custom(root, train=200, val=20, test=40)
        process = start(program, root, *arguments)
        time.sleep(generator.uniform(0.2, 1) * longest)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            killed += 1
        else:  # the machine is less busy than when the time was taken
            longest *= 0.9
        finish(start(program, root, *arguments))
        assert_whole(root)
        if kind == "release":
            assert files_below(root) == files_below(reference)
        for file in ("train_images.npy", "train_labels.npy", "test_images.npy"):
            np.testing.assert_array_equal(np.load(root / "packed" / file), np.load(reference / "packed" / file))
    assert killed >= 25
