from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from fabricated_release import (
    SUPERCLASSES,
    binary_files,
    equal,
    fabricate,
    python_files,
    python_tables,
    write_folder,
    write_tar,
)

from cifar100 import taxonomy
from cifar100.data.sources.official import parse_release, python_version, read_release
from cifar100.errors import UserError

RELEASE = fabricate()


def test_text_keys_are_read_too(tmp_path):
    files = {
        name: pickle.dumps({key.decode(): value for key, value in table.items()}, 2)
        for name, table in python_tables(RELEASE).items()
    }
    assert equal(read_release(write_folder(files, tmp_path / "release")), RELEASE)


# What the files of a release may say.


def change_binary(folder: Path, **files: bytes) -> Path:
    names = {
        "train": "train.bin",
        "test": "test.bin",
        "fine": "fine_label_names.txt",
        "coarse": "coarse_label_names.txt",
    }
    return write_folder(binary_files(RELEASE) | {names[key]: value for key, value in files.items()}, folder / "release")


RECORD = bytes([SUPERCLASSES[0], 0]) + bytes(3072)

MALFORMED_BINARY = {
    "cut off": ({"train": RECORD[:-1]}, "found 3,073 bytes, expected a multiple of 3,074"),
    "no images": ({"test": b""}, "test: found no images"),
    "fine label too large": ({"test": b"\0\4" + bytes(3072)}, "test: found the fine label 4, but only 4 names"),
    "coarse label too large": ({"test": b"\2\0" + bytes(3072)}, "test: found the coarse label 2, but only 2 names"),
    "two superclasses": ({"test": b"\0\0" + bytes(3072)}, "class 'apple' in the superclasses 1 and 0"),
    "no names": ({"fine": b"\n"}, "fine label names: found 0 names"),
    "too many names": ({"fine": b"\n".join(b"n%d" % n for n in range(257))}, "257 names, expected 1 to 256"),
    "same name": ({"fine": b"a b c a"}, "found the same name twice"),
    "name with a path": ({"coarse": b"animals ../../x"}, r"found the name '\.\./\.\./x'"),
    "name of dots": ({"coarse": b"animals .."}, r"found the name '\.\.'"),
    "name with an escape": ({"coarse": b"animals \x1b[2J"}, r"found the name '\\x1b\[2J'"),
    "long name": ({"coarse": b"animals " + b"x" * 101}, "found the name 'x"),
    "not UTF-8": ({"coarse": b"animals \xff"}, "a name that is not UTF-8"),
}


@pytest.mark.parametrize(("files", "message"), MALFORMED_BINARY.values(), ids=MALFORMED_BINARY.keys())
def test_a_malformed_binary_version_is_refused(files, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        read_release(change_binary(tmp_path, **files))
    assert "\n" not in str(caught.value)


NUM_TRAIN = len(RELEASE.train.images)

MALFORMED_PYTHON = {
    "no pixels": ("train", b"data", None, "train: found no array under 'data', only the keys"),
    "pixels of another type": ("train", b"data", np.zeros((NUM_TRAIN, 3072), np.int32), "pixels of int32"),
    "pixels of another shape": ("train", b"data", np.zeros((NUM_TRAIN, 1024), np.uint8), r"uint8 \(6, 1024\)"),
    "pixels in four dimensions": ("train", b"data", np.zeros((NUM_TRAIN, 3, 32, 32), np.uint8), r"\(6, 3, 32, 32\)"),
    "pixels without dimension": ("train", b"data", np.array(3, np.uint8), r"pixels of uint8 \(\)"),
    "no labels": ("test", b"fine_labels", None, "test: fine labels: found no list of whole numbers"),
    "text as labels": ("test", b"fine_labels", ["1"], "no list of whole numbers"),
    "truth values as labels": ("test", b"fine_labels", [True] * 4, "no list of whole numbers"),
    "labels in two dimensions": ("test", b"fine_labels", np.zeros((4, 1), int), "no list of whole numbers"),
    "negative label": ("test", b"coarse_labels", [-1] * 4, r"test: coarse labels: found labels outside 0\.\.255"),
    "enormous label": ("test", b"fine_labels", [2**70] * 4, r"labels outside 0\.\.255"),
    "label without a name": ("train", b"fine_labels", [4] * NUM_TRAIN, "the fine label 4, but only 4 names"),
    "too few labels": (
        "train",
        b"fine_labels",
        [0],
        "fine labels: found a list of length 1, expected a label for each",
    ),
    "too many labels": (
        "train",
        b"coarse_labels",
        [0] * 7,
        "coarse labels: found a list of length 7, expected",
    ),
    "no names": ("meta", b"fine_label_names", None, "fine label names: found no list of names"),
    "numbers as names": ("meta", b"coarse_label_names", [1, 2], "coarse label names: found no list of names"),
}


@pytest.mark.parametrize(("name", "key", "value", "message"), MALFORMED_PYTHON.values(), ids=MALFORMED_PYTHON.keys())
def test_a_malformed_python_version_is_refused(name, key, value, message, tmp_path):
    tables = python_tables(RELEASE)
    tables[name][key] = value
    if value is None:
        del tables[name][key]
    files = {name: pickle.dumps(table, 2) for name, table in tables.items()}
    with pytest.raises(UserError, match=message) as caught:
        read_release(write_folder(files, tmp_path / "release"))
    assert "\n" not in str(caught.value)


def test_a_malicious_pickle_in_an_archive_is_refused(tmp_path):
    files = python_files(RELEASE) | {"meta": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."}
    with pytest.raises(UserError, match=r"a\.tar\.gz: meta asks for os\.system"):
        read_release(write_tar(files, tmp_path / "a.tar.gz"))


def test_labels_may_be_arrays(tmp_path):
    tables = python_tables(RELEASE)
    tables["train"][b"fine_labels"] = RELEASE.train.fine_labels.astype(np.uint8)
    files = {name: pickle.dumps(table, 2) for name, table in tables.items()}
    assert equal(read_release(write_folder(files, tmp_path / "release")), RELEASE)


# Writing.


@pytest.mark.parametrize(("encoding", "convert"), [("bytes", str.encode), ("latin1", str)])
def test_a_python_version_is_read_by_others_as_the_official_one(encoding, convert):
    files = python_version(RELEASE)
    assert sorted(files) == ["meta", "test", "train"]
    table = pickle.loads(files["train"], encoding=encoding)
    assert set(table) == {convert(key) for key in ("filenames", "batch_label", "fine_labels", "coarse_labels", "data")}
    assert table[convert("fine_labels")] == RELEASE.train.fine_labels.tolist()
    assert np.array_equal(table[convert("data")], RELEASE.train.images.reshape(-1, 3072))
    assert len(set(table[convert("filenames")])) == NUM_TRAIN
    names = pickle.loads(files["meta"], encoding=encoding)[convert("fine_label_names")]
    assert names == [convert(name) for name in RELEASE.class_names]


def test_a_python_version_holds_the_whole_release():
    assert equal(parse_release(python_version(RELEASE), Path("here")), RELEASE)


def test_equal_releases_give_equal_bytes():
    images = np.asfortranarray(RELEASE.train.images)
    strided = dataclasses.replace(RELEASE, train=dataclasses.replace(RELEASE.train, images=images))
    assert python_version(RELEASE) == python_version(fabricate()) == python_version(strided)


# The real thing.


@pytest.mark.real_data
@pytest.mark.skipif("CIFAR100_SOURCE" not in os.environ, reason="CIFAR100_SOURCE names no official folder or archive")
def test_the_official_release():
    release = read_release(Path(os.environ["CIFAR100_SOURCE"]))
    assert release.train.sha256() == "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"
    assert release.test.sha256() == "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"
    assert release.train.images.shape == (50_000, 3, 32, 32)
    assert release.test.images.shape == (10_000, 3, 32, 32)
    assert release.class_names == taxonomy.FINE_NAMES
    assert release.superclass_names == taxonomy.SUPERCLASS_NAMES
    assert np.array_equal(np.array(taxonomy.FINE_TO_SUPERCLASS)[release.train.fine_labels], release.train.coarse_labels)
    assert equal(parse_release(python_version(release), Path("here")), release)
