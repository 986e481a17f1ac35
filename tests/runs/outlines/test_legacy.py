from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifar100.runs.outlines.legacy import MAGIC, VERSION, legacy_outline


def written(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def outline_of(file: bytes, *, max_bytes: int = 10**6) -> Any:
    return legacy_outline(io.BytesIO(file), num_bytes=len(file), max_bytes=max_bytes)


def test_the_outline_has_the_structure_of_the_content() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    base = torch.arange(12.0)
    content = {"state_dict": network.state_dict(), "views": [base, base[2:5]], "epoch": 3, "empty": torch.zeros(0)}
    found = outline_of(written(content))
    assert found.keys() == content.keys()
    assert list(found["state_dict"]) == list(network.state_dict())
    for name, value in network.state_dict().items():
        assert (found["state_dict"][name].shape, found["state_dict"][name].dtype) == (value.shape, value.dtype)
        assert found["state_dict"][name].is_meta
    assert [value.shape for value in found["views"]] == [(12,), (3,)]
    assert found["epoch"] == 3


def altered(old: bytes, new: bytes) -> bytes:
    file = written(OrderedDict(a=torch.arange(12.0)))
    assert file.count(old) >= 1
    return file.replace(old, new)


BEGINNING = pickle.dumps(MAGIC, 2) + pickle.dumps(VERSION, 2)

SIZE = struct.pack("<q", 12)
"""The count before the numbers of the storage."""


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (altered(b"K\x0cN", b"K\x0dN"), "12 elements, but its tensors declare 13"),
        (altered(b"K\x0cN", b"K\x0c\x8e"), "."),
        (altered(b"FloatStorage", b"LongStorage"), "but its tensors end at"),
        (altered(SIZE, struct.pack("<q", 2**40)), r"1,099,511,627,776 elements, but its tensors declare 12"),
        (altered(SIZE, struct.pack("<q", -1)), "-1 elements, but"),
        (written({"a": torch.arange(12.0)}) + b"more", "but its tensors end at"),
        (written({"a": torch.arange(12.0)})[:-1], "but its tensors end at"),
        (written({"a": torch.zeros(1).expand(10**12)}), "has only 1 elements"),
        (written({"a": torch.eye(3).to_sparse()}), "expected plain values and dense tensors"),
        (written({"a": Path("a")}), "pathlib"),
        (BEGINNING + pickle.dumps({"little_endian": False}, 2), "not little-endian"),
        (pickle.dumps(MAGIC, 2) + pickle.dumps(VERSION + 1, 2), "does not begin as a file of torch"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "'os.system'"),
    ],
)  # fmt: skip
def test_a_file_that_lies_is_refused(file: bytes, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        outline_of(file)


def test_tensors_that_are_too_large_are_refused() -> None:
    file = written({"a": torch.zeros(1000)})
    outline_of(file, max_bytes=4000)
    with pytest.raises(ValueError, match="its tensors have 4,000 bytes, expected at most 3,999"):
        outline_of(file, max_bytes=3999)


def test_a_storage_that_is_declared_in_two_sizes_is_refused() -> None:
    base = torch.arange(12.0)
    file = written([base, base[:4]])
    second = file.rindex(b"K\x0cN")
    with pytest.raises(ValueError, match="a storage is described in two ways"):
        outline_of(file[:second] + b"K\x0bN" + file[second + 3 :])
