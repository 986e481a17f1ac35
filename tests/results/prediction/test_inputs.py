"""What a person can name: files, folders, globs, URLs of a server on this machine, standard input."""

from __future__ import annotations

import http.server
import io
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cifar100.data.folder import image_files
from cifar100.data.sources import web
from cifar100.errors import UserError
from cifar100.results.prediction import inputs
from cifar100.results.prediction.inputs import NamedFiles, find_images, wait_for_servers

read_image = partial(image_files.read_image, side=32)
read_found = partial(inputs.read_found, side=32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: photos of several kinds, among other files."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("photos/b.JPG", "photos/a.png", "photos/deep/er/c.webp", "photos/ß [1].tiff", "photos/.hidden.png"),
        *(
            "photos/notes.txt",
            "photos/raw.heic",
            "photos/README",
            "photos/Thumbs.db",
            "photos/.ipynb_checkpoints/a.png",
        ),
        "photos/__MACOSX/a.png",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def names(images: Any) -> list[str]:
    found = find_images(images)
    assert isinstance(found, NamedFiles)
    return [type(name)(name.replace(os.sep, "/")) for name in found]


def test_a_folder_stands_for_the_images_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    expected = ["photos/a.png", "photos/b.JPG", "photos/deep/er/c.webp", "photos/raw.heic", "photos/ß [1].tiff"]
    assert names("photos") == names(["photos/"]) == names(Path("photos")) == expected
    warning = "cifar100: photos: 2 files are left out: their names are not those of images (.txt 1, no suffix 1).\n"
    found = capsys.readouterr().err.splitlines(keepends=True)
    assert len(found) == 3
    assert sorted(found[0].partition("(")[2]) == sorted(warning.partition("(")[2])
    assert found[0].startswith(warning.partition("(")[0])


def test_links_are_followed_but_not_in_circles(folder: Path) -> None:
    Path("outside").mkdir()
    Path("outside/x.png").touch()
    Path("photos/deep/outside").symlink_to(folder / "outside")
    Path("photos/deep/up").symlink_to(folder / "photos")
    Path("photos/itself").symlink_to("itself")
    Path("photos/itself.png").symlink_to("itself.png")
    assert names("photos") == [
        *("photos/a.png", "photos/b.JPG", "photos/deep/er/c.webp", "photos/deep/outside/x.png"),
        *("photos/itself.png", "photos/raw.heic", "photos/ß [1].tiff"),
    ]


def test_a_glob_stands_for_what_it_matches() -> None:
    assert names("photos/*.png") == ["photos/a.png"]
    assert names("photos/**/*.[wJ]*") == ["photos/b.JPG", "photos/deep/er/c.webp"]
    assert names("photos/d*") == ["photos/deep/er/c.webp"]
    assert names("photos/deep/**/*") == names("photos/deep/**") == ["photos/deep/er/c.webp"]  # once
    assert names("photos/ß [1].tiff") == ["photos/ß [1].tiff"]  # a file of that name is no pattern
    assert names("photos/no*tes.txt") == ["photos/notes.txt"]  # which was asked for
    with pytest.raises(
        UserError, match=r"photos.\*\.gif matches no file; pass image files, a folder or another pattern"
    ):
        names("photos/*.gif")


def test_nothing_to_classify_is_found_at_once() -> None:
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    with pytest.raises(UserError, match=r"empty holds no image files, expected names that end with .apng, .avif"):
        names("empty")
    with pytest.raises(UserError, match=r"texts holds no image files among 1 file \(.txt 1\), expected"):
        names(["photos", "texts"])
    with pytest.raises(UserError, match="images is an empty list; pass at least one image"):
        names([])
    with pytest.raises(UserError, match="'' is not a path"):
        names("")
    with pytest.raises(UserError, match="- is given several times, but standard input holds one image"):
        names(["-", "a.png", "-"])


def test_a_missing_file_and_a_folder_that_cannot_be_read_are_found_when_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert names(["missing.png", "photos/a.png"]) == ["missing.png", "photos/a.png"]
    with pytest.raises(UserError, match=r"^missing.png cannot be read \(No such file or directory\)"):
        read_found("missing.png", "missing.png")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(inputs.os, "scandir", refusing)
    assert names("photos")[2] == "photos/deep"
    with pytest.raises(UserError, match=r"^photos/deep cannot be read"):
        read_found("photos/deep", "photos/deep")


def test_an_iterator_is_taken_one_by_one() -> None:
    def endless() -> Iterator[Any]:
        yield "photos"
        yield Image.new("RGB", (4, 4))
        while True:
            yield np.zeros((32, 32, 3), np.uint8)

    found = find_images(endless())
    assert not isinstance(found, NamedFiles)
    assert [next(found)[0] for _ in range(7)] == [
        *("photos/a.png", "photos/b.JPG", "photos/deep/er/c.webp", "photos/raw.heic", "photos/ß [1].tiff"),
        *("images[1]", "images[2]"),
    ]


def test_standard_input_is_the_content_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 50), "teal").save("teal.png")

    def read(content: bytes) -> Any:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        (found,) = names(["-"])
        return read_found(found, find_images(["-"])[0])  # type: ignore[index]

    assert np.array_equal(read(Path("teal.png").read_bytes()), read_image(Path("teal.png")))
    with pytest.raises(UserError, match=r"^standard input is damaged or not an image \(0 bytes\)"):
        read(b"")
    monkeypatch.setattr(inputs, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="standard input has more than 100 bytes; scale the image down"):
        read(bytes(101))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match=r"standard input is not an image; pipe a file: cifar100 predict RUN - < IMAGE"):
        read_found("-", find_images("-")[0])  # type: ignore[index]


def test_a_file_may_have_the_name_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32), "teal").save("-", "PNG")
    monkeypatch.setattr("sys.stdin", None)
    for given in ("./-", Path("-"), "[-]"):
        (found,) = find_images([given])
        assert read_found("-", found)[0, 0].tolist() == [0, 128, 128]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        if self.path == "/missing.png":
            self.send_error(404)
            return
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/teal.png")
            self.end_headers()
            return
        self.send_response(200)
        content = Path("teal.png").read_bytes() if self.path == "/teal.png" else b"<!doctype html>sign in"
        if self.path == "/huge.png":
            self.send_header("Content-Length", "9" * 30)
        if self.path == "/half.png":
            self.send_header("Content-Length", str(2 * len(content)))
        self.end_headers()
        try:
            while self.path == "/endless.png":
                self.wfile.write(bytes(2**14))
            while self.path == "/slow.png":
                self.wfile.write(b"x")
                time.sleep(0.02)
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "SMALL_FILE_SECONDS", 0.5)
    Image.new("RGB", (40, 50), "teal").save("teal.png")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_url_is_fetched(address: str) -> None:
    for path in ("teal.png", "moved.png"):
        found = find_images(["photos/a.png", f"{address}/{path}"])
        assert isinstance(found, NamedFiles)
        assert wait_for_servers(found)
        assert found[1] == f"{address}/{path}"
        assert np.array_equal(read_found(found[1], found[1]), read_image(Path("teal.png")))
    assert not wait_for_servers(NamedFiles(names("photos")))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.png", r"cannot be fetched \(HTTP 404\); check the address, or download the file\.$"),
        ("huge.png", r"cannot be fetched \(offers 9{20} bytes, expected at most \d+\)"),
        ("endless.png", r"cannot be fetched \(sent more than the expected [\d,]+ bytes\)"),
        ("slow.png", r"cannot be fetched \(took longer than 0.5 s\)"),
        ("half.png", r"cannot be fetched \(broke off\)"),
        ("page.png", r"is a web page"),
    ],
)
def test_a_url_that_does_not_end_or_is_no_image_is_one_line(
    path: str, message: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_URL_BYTES", 2**20)
    started = time.monotonic()
    (found,) = find_images(f"{address}/{path}")
    with pytest.raises(UserError, match=message) as caught:
        read_found(found, found)
    assert str(caught.value).startswith(f"{address}/{path} ")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 10


def test_a_server_that_is_not_there_and_another_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (found,) = find_images("HTTP://127.0.0.1:9/a.png")
    with pytest.raises(UserError, match=r"cannot be fetched \(no connection\)"):
        read_found(found, found)
    (found,) = find_images("ftp://127.0.0.1/a.png")
    with pytest.raises(UserError, match=r"ftp:.*cannot be read \(No such file or directory\)"):
        read_found(found, found)
