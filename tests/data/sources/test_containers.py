from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from fabricated_release import binary_files, equal, fabricate, python_files, write_folder, write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar100.data.sources import containers
from cifar100.data.sources.containers import read_files
from cifar100.data.sources.official import read_release
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


def test_nothing_at_the_path(tmp_path):
    with pytest.raises(UserError, match=r"absent does not exist; expected the folder or archive .* run: cifar100"):
        read_files(tmp_path / "absent")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds nothing; expected"):
        read_files(tmp_path)


def test_a_folder_of_something_else(tmp_path):
    folder = write_folder({f"data_batch_{number}": b"" for number in range(1, 7)}, tmp_path / "cifar-10")
    with pytest.raises(UserError, match=r"holds data_batch_1, .*data_batch_4 and 2 more; expected"):
        read_files(folder)


@pytest.mark.parametrize(("files", "name"), [(python_files(RELEASE), "meta"), (binary_files(RELEASE), "test.bin")])
def test_a_missing_file_is_named(files, name, tmp_path):
    del files[name]
    with pytest.raises(UserError, match=f"lacks {name}; expected"):
        read_files(write_folder(files, tmp_path / "release"))
    with pytest.raises(UserError, match=r"is an archive that holds .* of these files; expected"):
        read_files(write_tar(files, tmp_path / "a.tar.gz"))


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
        read_files(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_an_archive_of_something_else(tmp_path):
    with pytest.raises(UserError, match="an archive that holds nothing of these files"):
        read_files(write_tar({"data_batch_1": b""}, tmp_path / "a.tar.gz"))


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read_files(tmp_path / "pipe")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root and Windows read everything")
def test_a_folder_without_permission(tmp_path):
    folder = write_folder(python_files(RELEASE), tmp_path / "release")
    folder.chmod(0)
    with pytest.raises(UserError):
        read_files(folder)
    folder.chmod(stat.S_IRWXU)


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


HOSTILE_MEMBERS = {
    "parent folder": (member("../outside"), "a path outside the archive"),
    "parent folder inside": (member("cifar-100-python/../../outside"), "a path outside the archive"),
    "parent folder, Windows": (member("..\\outside"), "a path outside the archive"),
    "absolute": (member("/tmp/outside"), "a path outside the archive"),
    "absolute, Windows": (member("C:\\outside"), "a path outside the archive"),
    "release file outside": (member("../train"), "a path outside the archive"),
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
        read_files(path)
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
        read_files(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(python_files(RELEASE), tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        read_files(path)


def large_tar(path: Path, size: int, name: str, kind: bytes = tarfile.REGTYPE, num_bytes: int = 0) -> Path:
    """A tar.gz with one member that claims `size` bytes and has `num_bytes`."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT))
        for _ in range(num_bytes >> 20):
            file.write(bytes(2**20))
    return path


def test_a_member_of_enormous_size_is_refused_unread(tmp_path):
    with pytest.raises(UserError, match=r"holds more than CIFAR-100 could \(at 'train'\)"):
        read_files(large_tar(tmp_path / "a.tar.gz", 2**40, "train"))


def test_many_members_of_moderate_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 10_000)
    extra = [member(f"extra{number}", size=900) for number in range(20)]
    with pytest.raises(UserError, match="holds more than CIFAR-100 could"):
        read_files(write_tar({}, tmp_path / "a.tar.gz", *extra))


def test_too_many_members_are_refused(tmp_path):
    extra = [member(f"extra{number}") for number in range(1001)]
    with pytest.raises(UserError, match="holds more than CIFAR-100 could"):
        read_files(write_tar(python_files(RELEASE), tmp_path / "a.tar.gz", *extra))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_enormous_header_is_not_read_into_memory(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 2**20)
    with pytest.raises(UserError, match="unpacks to more than CIFAR-100 could"):
        read_files(large_tar(tmp_path / "a.tar.gz", 8 * 2**20, "header", kind, num_bytes=8 * 2**20))


def test_a_bomb_behind_the_end_of_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_ARCHIVE_BYTES", 2**20)
    path = write_tar(python_files(RELEASE), tmp_path / "a.tar.gz")
    with gzip.open(path, "ab", compresslevel=1) as file:
        file.write(bytes(8 * 2**20))
    with pytest.raises(UserError, match="unpacks to more than CIFAR-100 could"):
        read_files(path)


@pytest.mark.timeout(20)
def test_a_member_of_negative_size_does_not_loop(tmp_path):
    header = bytearray(member("folder").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (2**96 - 512).to_bytes(12, "big")  # base-256: -512
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UserError, match=r"cannot be read as an archive|these files"):
        read_files(path)


@pytest.mark.parametrize("ending", ["tar.gz", "tar", "zip"])
def test_a_truncated_archive_is_refused_wherever_it_ends(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    whole = (write_zip if ending == "zip" else write_tar)(binary_files(RELEASE), path).read_bytes()
    content_end = len(whole) if ending != "tar" else whole.rindex(b"animals")
    for length in [*range(0, content_end, content_end // 40), content_end - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_files(path)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_altered_archive_is_refused(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    whole = (write_zip if ending == "zip" else write_tar)(python_files(RELEASE), path).read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError):
        read_files(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    folder = write_folder(binary_files(RELEASE), tmp_path / "release")
    os.truncate(folder / "train.bin", 2**40)  # a sparse file
    with pytest.raises(UserError, match=r"train\.bin is larger than any file"):
        read_files(folder)


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
