"""Formats by content: supported ones, foreign ones by name, and no plug-in of Pillow beside the list."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_bytes import saved, scene
from PIL import EpsImagePlugin, Image, features

import cifar100
from cifar100.data.decoding.formats import SUPPORTED, ImageError, format_of
from cifar100.data.folder.image_files import read_image
from cifar100.errors import UserError

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
(canary) (w) file closefile
showpage
%%EOF
"""

FOREIGN = {
    "EPS": EPS,
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(40),
    "PDF": b"%PDF-1.7\n",
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "JPEG XL": b"\xff\x0a" + bytes(40),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "XML or SVG": b"\n <?xml version='1.0'?>",
    "web page": b"<!DOCTYPE html><html>404</html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "DICOM": bytes(128) + b"DICM" + bytes(40),
    "video": b"\0\0\0\x18ftypisom\0\0\0\0mp42" + bytes(40),
    "PFM": b"Pf\n1 1\n-1.0\n" + bytes(4),
    "ICO": b"\0\0\1\0\1\0" + bytes(40),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_known_foreign_format_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(UserError, match=rf"image\.png is an? .*{name.split()[0]}.*, expected PNG, JPEG.*; convert it"):
        read_image(path)


def test_a_postscript_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    for content in (EPS, b"\n" + EPS, b"\xff\xd8\xff" + EPS, b"GIF89a" + EPS, b"BM" + EPS, b"II*\0" + EPS):
        Path("evil.png").write_bytes(content)
        with pytest.raises(UserError):
            read_image(Path("evil.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["evil.png"]


@pytest.mark.parametrize("kind", SUPPORTED)
def test_supported_formats_are_recognised(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow cannot write AVIF")
    assert format_of(saved(scene(), kind)) == kind


def test_pillow_is_never_asked_to_guess_the_format() -> None:
    """`Image.open` without a list of formats would reach the plug-ins that start programs."""
    root = Path(cifar100.__file__).parents[2]
    places = [root / name for name in ("src", "benchmarks", "notebooks")]
    sources = [path for place in places for path in place.rglob("*") if path.suffix in (".py", ".ipynb")]
    assert len(sources) > 100
    shown = {"card"}  # a program for others, on the card of a published network
    assert not [path for path in sources if "Image.open(" in path.read_text("utf-8") and path.stem not in shown]
    reading = ("imread(", "imdecode(", "Image.OPEN", "decode_image(")
    package = [path for path in sources if "src" in path.relative_to(root).parts]
    found = {(path.stem, call) for path in package for call in reading if call in path.read_text(encoding="utf-8")}
    decoding = {("pictures", "imdecode("), ("pictures", "Image.OPEN"), ("decode", "decode_image(")}
    elsewhere = {("image_files", "imdecode("), ("image_files", "decode_image("), ("official_copies", "decode_image(")}
    assert found == decoding | elsewhere


def test_an_unknown_file_is_damaged() -> None:
    for content in (b"", b"\0", bytes(200), b"no image"):
        with pytest.raises(ImageError, match=rf"damaged or not an image \({len(content)} bytes\)"):
            format_of(content)
    Image.init()  # Pillow loads its formats on first use
    assert set(SUPPORTED) <= set(Image.OPEN)
