"""Files whose sizes lie: each is refused at a peak memory of at most 1 GiB above that of an accepted file."""

from __future__ import annotations

import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from altered_checkpoints import in_pickle, rewrite, whole_pickle
from fabricated_release import fabricate, python_files, write_tar, write_zip
from peak_memory import peak_memory
from torch import nn

from cifar100.data.folder.splits import Split, save_split

MIB = 2**20


class Reader(NamedTuple):
    imports: str
    action: str
    valid: Callable[[Path], object]


def valid_checkpoint(path: Path) -> None:
    weights = {f"network.{name}": value for name, value in nn.Linear(1000, 100).state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 1}, path)


def valid_split(path: Path) -> None:
    save_split(Split(train=np.arange(1000), validation=np.arange(1000, 1100)), path)


def valid_csv(path: Path) -> None:
    path.with_name("a.png").touch()
    path.write_text("file,fine_label\na.png,0\n")


def valid_metrics(path: Path) -> None:
    path.write_text(json.dumps({"epochs": [{"epoch": 1}]}))


READERS = {
    "release": Reader(
        "from cifar100.data.sources.official import read_release",
        "read_release(path)",
        lambda path: write_zip(python_files(fabricate()), path),
    ),
    "split": Reader("from cifar100.data.folder.splits import load_split", "load_split(path)", valid_split),
    "array": Reader(
        "from cifar100.data.folder.array_files import read_npy\n"
        "def refusing(function, path):\n"
        "    try:\n        function(path)\n    except ValueError as error:\n        raise UserError(error) from error",
        "refusing(read_npy, path)",
        lambda path: path.write_bytes(npy((2,), "|u1") + bytes(2)),
    ),
    "checkpoint": Reader(
        "from cifar100.runs.checkpoints import load_weights, max_checkpoint_bytes, read_checkpoint\n"
        "network = torch.nn.Linear(1000, 100)",
        "load_weights(network, read_checkpoint(path, max_bytes=max_checkpoint_bytes(network)), path)",
        valid_checkpoint,
    ),
    "csv": Reader("from cifar100.data.folder.csv_labels import read_rows", "read_rows(path)", valid_csv),
    "metrics": Reader("from cifar100.runs.history import read_epochs", "read_epochs(path)", valid_metrics),
}


def npy(shape: Any, dtype: str = "<i8") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (118 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zip_of(path: Path, names: list[str], *, size: int, method: int = zipfile.ZIP_DEFLATED, start: bytes = b"") -> None:
    """Members of zeros, after some first bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(start)
                for _ in range(size // MIB):
                    member.write(bytes(MIB))


def declaring(path: Path, size: int) -> None:
    """Change the uncompressed size that the directory of an archive declares for every member."""
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 24 : at + 28] = struct.pack("<L", size)
        at = content.find(b"PK\x01\x02", at + 4)
    path.write_bytes(content)


RELEASE_NAMES = ["cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"]


def release_that_unpacks_to_two_gigabytes(path: Path) -> None:
    zip_of(path, RELEASE_NAMES, size=700 * MIB)


def release_that_declares_less(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in RELEASE_NAMES:
            archive.writestr(name, bytes(1500 * MIB // 3))
    declaring(path, 1000)


def release_in_lzma(path: Path) -> None:
    zip_of(path, RELEASE_NAMES, size=500 * MIB, method=zipfile.ZIP_LZMA)
    declaring(path, 1000)


def release_in_bzip2(path: Path) -> None:
    zip_of(path, RELEASE_NAMES, size=500 * MIB, method=zipfile.ZIP_BZIP2)
    declaring(path, 1000)


def release_of_many_members(path: Path) -> None:
    entry = b"PK\x01\x02" + bytes(42)
    num_entries = 3_000_000
    with path.open("wb") as file:
        file.write(b"PK\x03\x04" + bytes(26))
        for _ in range(num_entries // 1000):
            file.write(entry * 1000)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 65535, 65535, num_entries * 46, 30, 0))


def release_of_one_long_name(path: Path) -> None:
    import gzip

    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(600):
            file.write(bytes(MIB))


def release_of_one_string(path: Path) -> None:
    """A pickle of text that takes four bytes a character in memory."""
    text = ("a" * (180 * MIB) + "\U0001f600").encode()
    content = b"\x80\x02}X\x01\x00\x00\x00aX" + struct.pack("<L", len(text)) + text + b"s."
    write_tar({**python_files(fabricate()), "train": content}, path)


def split_of_a_large_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train.npy", "validation.npy"):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(npy((100 * MIB,)))
                for _ in range(800):
                    member.write(bytes(MIB))


def split_just_below_the_limit(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train.npy", "validation.npy"):
            archive.writestr(name, npy((7 * MIB,)) + bytes(56 * MIB))


def split_that_declares_a_large_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train.npy", "validation.npy"):
            archive.writestr(name, npy((10**12,)))


def array_that_declares_more(path: Path) -> None:
    path.write_bytes(npy((2**33,)) + bytes(1000))


def sparse_array(path: Path) -> None:
    path.write_bytes(npy((2**33,), "<f8"))
    os.truncate(path, 128 + 2**36)


def deflated_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"network.weight": torch.zeros(100, 10**6)}}, path)
    rewrite(path, lambda name, content: content, method=zipfile.ZIP_DEFLATED)


def checkpoint_with_a_large_storage(path: Path) -> None:
    valid_checkpoint(path)
    rewrite(path, in_pickle(b"J\xa0\x86\x01\x00", b"J\xff\xff\xff\x7f"))


def sparse_checkpoint(path: Path) -> None:
    """A stored weight of 2 GB, most of it a hole."""
    valid_checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    size, [weight] = 2 * 10**9, [name for name in members if name.endswith("data/0")]
    pickled = next(name for name in members if name.endswith("data.pkl"))
    members[pickled] = members[pickled].replace(b"J\xa0\x86\x01\x00", b"J" + struct.pack("<l", size // 4))
    del members[weight]
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo(weight)
        info.file_size = info.compress_size = size
        info.CRC = 0
        info.header_offset = file.tell()
        file.write(info.FileHeader())
        file.seek(size, os.SEEK_CUR)
        archive.start_dir = file.tell()
        archive.filelist.append(info)


def checkpoint_of_lists(path: Path) -> None:
    valid_checkpoint(path)
    rewrite(path, whole_pickle(b"\x80\x02](" + b"]" * (30 * MIB) + b"e."))


def checkpoint_of_nested_tuples(path: Path) -> None:
    """A dictionary whose key takes 2^60 steps to hash."""
    valid_checkpoint(path)
    doubled = b"".join(b"q%ch%ch%c\x86" % (index, index, index) for index in range(60))
    rewrite(path, whole_pickle(b"\x80\x02})" + doubled + b"Ns."))


def checkpoint_of_doubled_lists(path: Path) -> None:
    valid_checkpoint(path)
    content: Any = []
    for _ in range(35):
        content = [content, content]
    rewrite(path, whole_pickle({"state_dict": {}, "more": content}))


def expanded_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"network.weight": torch.zeros(1).expand(100, 10**10)}}, path)


def sparse_table(path: Path) -> None:
    path.write_text("file,fine_label\n")
    os.truncate(path, 50 * 10**9)


def table_of_one_line(path: Path) -> None:
    path.write_bytes(b"file,fine_label\n" + b"," * (120 * MIB))


def table_of_one_record(path: Path) -> None:
    path.write_bytes(b"file,fine_label\n" + b'"\n\n",' * (20 * MIB))


def metrics_of_empty_mappings(path: Path) -> None:
    path.write_bytes(b'{"epochs":[' + b'{"":0},' * (3 * MIB) + b"{}]}")


def metrics_of_lists(path: Path) -> None:
    path.write_bytes(b'{"epochs":[' + b"[]," * (7 * MIB) + b"[]]}")


def sparse_metrics(path: Path) -> None:
    os.truncate(path, 50 * 10**9) if path.exists() else path.write_bytes(b"{")
    os.truncate(path, 50 * 10**9)


CASES = [
    *(("release", make) for make in (
        release_that_unpacks_to_two_gigabytes, release_that_declares_less, release_in_lzma, release_in_bzip2,
        release_of_many_members, release_of_one_long_name, release_of_one_string,
    )),
    *(("split", make) for make in (
        split_of_a_large_array, split_just_below_the_limit, split_that_declares_a_large_array,
    )),
    *(("array", make) for make in (array_that_declares_more, sparse_array)),
    *(("checkpoint", make) for make in (
        deflated_checkpoint, checkpoint_with_a_large_storage, sparse_checkpoint, checkpoint_of_lists,
        checkpoint_of_nested_tuples, checkpoint_of_doubled_lists, expanded_checkpoint,
    )),
    *(("csv", make) for make in (sparse_table, table_of_one_line, table_of_one_record)),
    *(("metrics", make) for make in (metrics_of_empty_mappings, metrics_of_lists, sparse_metrics)),
]  # fmt: skip

QUICK = (release_that_declares_less, split_that_declares_a_large_array, checkpoint_with_a_large_storage)


@pytest.mark.parametrize(
    ("kind", "make"),
    [pytest.param(kind, make, marks=() if make in QUICK else pytest.mark.slow) for kind, make in CASES],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refused_file_takes_little_memory(kind: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    reader = READERS[kind]
    (tmp_path / "valid").mkdir()
    reader.valid(tmp_path / "valid" / "file")
    outcome, normal = peak_memory(reader.imports, reader.action, tmp_path / "valid" / "file")
    assert outcome == "accepted"
    make(tmp_path / "file")
    outcome, peak = peak_memory(reader.imports, reader.action, tmp_path / "file")
    print(f"{make.__name__}: {peak - normal} MiB above {normal}: {outcome}")
    assert outcome.startswith("refused")
    assert peak - normal <= 1024
