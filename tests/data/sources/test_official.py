from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import pickle
import stat
import tarfile
import zipfile
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
    write_zip,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar100 import taxonomy
from cifar100.data.sources import containers
from cifar100.data.sources.official import read_release, write_python_version
from cifar100.errors import UserError

RELEASE = fabricate()

SOURCES = {
    "python folder": lambda path: write_folder(python_files(RELEASE), path / "anything"),
    "binary folder": lambda path: write_folder(binary_files(RELEASE), path / "anything"),
    "parent of the python folder": lambda path: write_folder(python_files(RELEASE), path / "cifar-100-python").parent,
    "parent of the binary folder": lambda path: write_folder(binary_files(RELEASE), path / "cifar-100-binary").parent,
    "python tar.gz": lambda path: write_tar(python_files(RELEASE), path / "a.tar.gz"),
    "binary tar.gz": lambda path: write_tar(binary_files(RELEASE), path / "a.tgz"),
    "python tar": lambda path: write_tar(python_files(RELEASE), path / "a.tar"),
    "tar.gz without an ending": lambda path: write_tar(python_files(RELEASE), path / "a.gz").rename(path / "a"),
    "python zip": lambda path: write_zip(python_files(RELEASE), path / "a.zip"),
    "binary zip": lambda path: write_zip(binary_files(RELEASE), path / "a.zip"),
    "folder of the archive": lambda path: write_tar(python_files(RELEASE), path / "cifar-100-python.tar.gz").parent,
    "with a left-over file": lambda path: write_tar(python_files(RELEASE) | {"file.txt~": b""}, path / "a.tar.gz"),
    "Python 3 pickles, protocol 4": lambda path: write_folder(python_files(RELEASE, 4), path / "anything"),
    "Python 3 pickles, protocol 5": lambda path: write_folder(python_files(RELEASE, 5), path / "anything"),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_every_container_gives_the_same_release(make, tmp_path):
    release = read_release(make(tmp_path))
    assert equal(release, RELEASE)
    for split in (release.train, release.test):
        assert split.images.flags.writeable
        assert split.images.flags.c_contiguous


def test_the_checksum_is_that_of_the_binary_file(tmp_path):
    files = binary_files(RELEASE)
    release = read_release(write_folder(files, tmp_path / "release"))
    assert release.train.sha256() == hashlib.sha256(files["train.bin"]).hexdigest()
    assert release.test.sha256() == hashlib.sha256(files["test.bin"]).hexdigest()


def test_text_keys_are_read_too(tmp_path):
    files = {
        name: pickle.dumps({key.decode(): value for key, value in table.items()}, 2)
        for name, table in python_tables(RELEASE).items()
    }
    assert equal(read_release(write_folder(files, tmp_path / "release")), RELEASE)


# What a path may hold instead of a release.


def test_nothing_at_the_path(tmp_path):
    with pytest.raises(UserError, match=r"absent does not exist; expected the folder or archive .* run: cifar100"):
        read_release(tmp_path / "absent")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds nothing; expected"):
        read_release(tmp_path)


def test_a_folder_of_something_else(tmp_path):
    folder = write_folder({f"data_batch_{number}": b"" for number in range(1, 7)}, tmp_path / "cifar-10")
    with pytest.raises(UserError, match=r"holds data_batch_1, .*data_batch_4 and 2 more; expected"):
        read_release(folder)


@pytest.mark.parametrize(("files", "name"), [(python_files(RELEASE), "meta"), (binary_files(RELEASE), "test.bin")])
def test_a_missing_file_is_named(files, name, tmp_path):
    del files[name]
    with pytest.raises(UserError, match=f"lacks {name}; expected"):
        read_release(write_folder(files, tmp_path / "release"))
    with pytest.raises(UserError, match=r"is an archive that holds .* of these files; expected"):
        read_release(write_tar(files, tmp_path / "a.tar.gz"))


OTHER_FILES = {
    "is empty and cannot be read as an archive": b"",
    "is a text file": b"apple,bear\n" * 100,
    "is a web page": b"<!DOCTYPE html>\n<html>",
    "is a gzip file": gzip.compress(b"hello", mtime=0),
    "is a zip file": b"PK\x03\x04hello",
    "is a pickle, one file of the release": python_files(RELEASE)["meta"],
    "is a file of another kind": b"\x89PNG\r\n\x1a\n\0\0\0",
}


@pytest.mark.parametrize(("message", "content"), OTHER_FILES.items())
def test_a_file_of_another_kind(message, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_release(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_an_archive_of_something_else(tmp_path):
    with pytest.raises(UserError, match="an archive that holds nothing of these files"):
        read_release(write_tar({"data_batch_1": b""}, tmp_path / "a.tar.gz"))


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read_release(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path):
    folder = write_folder(python_files(RELEASE), tmp_path / "release")
    folder.chmod(0)
    with pytest.raises(UserError):
        read_release(folder)
    folder.chmod(stat.S_IRWXU)


# Damaged and hostile archives.


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


HOSTILE_MEMBERS = {
    "parent folder": (member("../outside"), "a path outside of the archive"),
    "parent folder inside": (member("cifar-100-python/../../outside"), "a path outside of the archive"),
    "parent folder, Windows": (member("..\\outside"), "a path outside of the archive"),
    "absolute": (member("/tmp/outside"), "a path outside of the archive"),
    "absolute, Windows": (member("C:\\outside"), "a path outside of the archive"),
    "release file outside": (member("../train"), "a path outside of the archive"),
    "symbolic link": (member("train", tarfile.SYMTYPE, link="/etc/passwd"), "'train', a link and not a file"),
    "symbolic link of another name": (member("folder", tarfile.SYMTYPE, link="/etc"), "a link and not a file"),
    "hard link": (member("train", tarfile.LNKTYPE, link="/etc/passwd"), "a link and not a file"),
    "character device": (member("train", tarfile.CHRTYPE), "a device and not a file"),
    "pipe": (member("train", tarfile.FIFOTYPE), "a device and not a file"),
    "twice": (member("elsewhere/train"), "holds the file train twice"),
    "line break in a name": (member("../a\nb"), r"'\.\./a\\nb', a path outside"),
}


@pytest.mark.parametrize(("extra", "message"), HOSTILE_MEMBERS.values(), ids=HOSTILE_MEMBERS.keys())
def test_a_hostile_archive_is_refused(extra, message, tmp_path):
    path = write_tar(python_files(RELEASE), tmp_path / "a.tar.gz", extra)
    with pytest.raises(UserError, match=message) as caught:
        read_release(path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]  # nothing was unpacked


@pytest.mark.parametrize(("name", "mode", "message"), [("../train", 0, "outside"), ("x", stat.S_IFLNK, "a link")])
def test_a_hostile_zip_is_refused(name, mode, message, tmp_path):
    path = write_zip(python_files(RELEASE), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(UserError, match=message):
        read_release(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(python_files(RELEASE), tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        read_release(path)


def large_tar(path: Path, size: int, name: str, kind: bytes = tarfile.REGTYPE, num_bytes: int = 0) -> Path:
    """A tar.gz with one member that claims `size` bytes and has `num_bytes`."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT))
        for _ in range(num_bytes >> 20):
            file.write(bytes(2**20))
    return path


def test_a_member_of_enormous_size_is_refused_unread(tmp_path):
    with pytest.raises(UserError, match=r"holds more than CIFAR-100 could \(at 'train'\)"):
        read_release(large_tar(tmp_path / "a.tar.gz", 2**40, "train"))


def test_many_members_of_moderate_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 10_000)
    extra = [member(f"extra{number}", size=900) for number in range(20)]
    with pytest.raises(UserError, match="holds more than CIFAR-100 could"):
        read_release(write_tar({}, tmp_path / "a.tar.gz", *extra))


def test_too_many_members_are_refused(tmp_path):
    extra = [member(f"extra{number}") for number in range(1001)]
    with pytest.raises(UserError, match="holds more than CIFAR-100 could"):
        read_release(write_tar(python_files(RELEASE), tmp_path / "a.tar.gz", *extra))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_enormous_header_is_not_read_into_memory(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 2**20)
    with pytest.raises(UserError, match="unpacks to more than CIFAR-100 could"):
        read_release(large_tar(tmp_path / "a.tar.gz", 8 * 2**20, "header", kind, num_bytes=8 * 2**20))


def test_a_bomb_behind_the_end_of_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 2**20)
    path = write_tar(python_files(RELEASE), tmp_path / "a.tar.gz")
    with gzip.open(path, "ab", compresslevel=1) as file:
        file.write(bytes(8 * 2**20))
    with pytest.raises(UserError, match="unpacks to more than CIFAR-100 could"):
        read_release(path)


@pytest.mark.timeout(20)
def test_a_member_of_negative_size_does_not_loop(tmp_path):
    header = bytearray(member("folder").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (2**96 - 512).to_bytes(12, "big")  # base-256: -512
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UserError, match=r"cannot be read as an archive|these files"):
        read_release(path)


@pytest.mark.parametrize("ending", ["tar.gz", "tar", "zip"])
def test_a_truncated_archive_is_refused_wherever_it_ends(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    whole = (write_zip if ending == "zip" else write_tar)(binary_files(RELEASE), path).read_bytes()
    content_end = len(whole) if ending != "tar" else whole.rindex(b"animals")
    for length in [*range(0, content_end, content_end // 40), content_end - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_release(path)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_altered_archive_is_refused(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    whole = (write_zip if ending == "zip" else write_tar)(python_files(RELEASE), path).read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError):
        read_release(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    folder = write_folder(binary_files(RELEASE), tmp_path / "release")
    os.truncate(folder / "train.bin", 2**40)  # a sparse file
    with pytest.raises(UserError, match="1099511627776 bytes, more than any file"):
        read_release(folder)


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
    "cut off": ({"train": RECORD[:-1]}, "found 3073 bytes, expected a multiple of 3074"),
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
    "too few labels": ("train", b"fine_labels", [0], "found 6 images, 1 fine and 6 coarse labels"),
    "too many labels": ("train", b"coarse_labels", [0] * 7, "found 6 images, 6 fine and 7 coarse labels"),
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
    files = python_files(RELEASE) | {"meta": b"cos\nsystem\n(S'true'\ntR."}
    with pytest.raises(UserError, match=r"a\.tar\.gz: meta asks for os\.system"):
        read_release(write_tar(files, tmp_path / "a.tar.gz"))


def test_labels_may_be_arrays(tmp_path):
    tables = python_tables(RELEASE)
    tables["train"][b"fine_labels"] = RELEASE.train.fine_labels.astype(np.uint8)
    files = {name: pickle.dumps(table, 2) for name, table in tables.items()}
    assert equal(read_release(write_folder(files, tmp_path / "release")), RELEASE)


# Writing.


def test_what_is_written_is_read_back_by_us_and_by_others(tmp_path):
    write_python_version(RELEASE, tmp_path / "new" / "folder")
    assert equal(read_release(tmp_path / "new" / "folder"), RELEASE)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["meta", "test", "train"]
    for encoding, convert in (("bytes", str.encode), ("latin1", str)):
        with (tmp_path / "new" / "folder" / "train").open("rb") as file:
            table = pickle.load(file, encoding=encoding)
        expected = {"filenames", "batch_label", "fine_labels", "coarse_labels", "data"}
        assert set(table) == {convert(key) for key in expected}
        assert table[convert("fine_labels")] == RELEASE.train.fine_labels.tolist()
        assert np.array_equal(table[convert("data")], RELEASE.train.images.reshape(-1, 3072))
        assert len(set(table[convert("filenames")])) == NUM_TRAIN
        with (tmp_path / "new" / "folder" / "meta").open("rb") as file:
            names = pickle.load(file, encoding=encoding)[convert("fine_label_names")]
        assert names == [convert(name) for name in RELEASE.class_names]


def test_equal_releases_give_equal_bytes(tmp_path):
    write_python_version(RELEASE, tmp_path / "first")
    write_python_version(fabricate(), tmp_path / "second")
    images = np.asfortranarray(RELEASE.train.images)
    strided = dataclasses.replace(RELEASE, train=dataclasses.replace(RELEASE.train, images=images))
    write_python_version(strided, tmp_path / "third")
    for name in ("train", "test", "meta"):
        first, second, third = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second", "third"))
        assert first == second == third


def test_an_interrupted_write_leaves_the_old_files(tmp_path, monkeypatch):
    write_python_version(fabricate(3, 3), tmp_path)
    write_bytes = Path.write_bytes

    def fail_at_test(path: Path, content: bytes) -> int:
        if "test" in path.name:
            write_bytes(path, content[:10])
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail_at_test)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); choose another folder"):
        write_python_version(RELEASE, tmp_path)
    assert equal(read_release(tmp_path), fabricate(3, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta", "test", "train"]


def test_writing_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_python_version(RELEASE, tmp_path / "file")


# Any bytes give a release or a UserError.


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@settings(max_examples=250, deadline=None)
@given(
    ending=st.sampled_from(["tar", "tar.gz", "zip"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=12), st.integers(0, 12)), min_size=1, max_size=4),
    length=st.floats(0.5, 1.5),
)
def test_a_mutated_archive_is_read_or_refused(ending, changes, length, scratch):
    path = scratch / f"a.{ending}"
    files = binary_files(fabricate(1, 1)) | {"meta": b""}
    content = bytearray((write_zip if ending == "zip" else write_tar)(files, path).read_bytes())
    for place, replacement, num_removed in changes:
        start = int(place * len(content))
        content[start : start + num_removed] = replacement
    path.write_bytes(content[: int(length * len(content))])
    try:
        release = read_release(path)
    except UserError as error:
        message = str(error)
    else:
        message = release.train.sha256()
    assert message
    assert "\n" not in message


# The real thing.


@pytest.mark.real_data
@pytest.mark.skipif("CIFAR100_SOURCE" not in os.environ, reason="CIFAR100_SOURCE names no official folder or archive")
def test_the_official_release(tmp_path):
    release = read_release(Path(os.environ["CIFAR100_SOURCE"]))
    assert release.train.sha256() == "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"
    assert release.test.sha256() == "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"
    assert release.train.images.shape == (50_000, 3, 32, 32)
    assert release.test.images.shape == (10_000, 3, 32, 32)
    assert release.class_names == taxonomy.FINE_NAMES
    assert release.superclass_names == taxonomy.SUPERCLASS_NAMES
    assert np.array_equal(np.array(taxonomy.FINE_TO_SUPERCLASS)[release.train.fine_labels], release.train.coarse_labels)
    write_python_version(release, tmp_path)
    assert equal(read_release(tmp_path), release)
