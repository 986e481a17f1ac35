from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from altered_checkpoints import in_pickle, rewrite, whole_pickle
from torch import Tensor, nn

from cifar100.runs.outlines.checkpoint import outline


def outline_of(path: Path, **options: Any) -> Any:
    with path.open("rb") as file:
        return outline(file, num_bytes=path.stat().st_size, **options)


def same(one: Any, other: Any) -> bool:
    if isinstance(other, Tensor):
        return (one.shape, one.dtype, one.device.type) == (other.shape, other.dtype, "meta")
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in other)
    if isinstance(other, (list, tuple)):
        return type(one) is type(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and one == other


def test_the_outline_has_the_structure_of_the_content(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    base = torch.arange(12.0)
    content = {
        "state_dict": network.state_dict(),
        "views": [base, base[2:5], base.view(3, 4).T],
        "empty": torch.zeros(0),
        "types": [torch.zeros(2, dtype=kind) for kind in (torch.bool, torch.bfloat16, torch.uint8, torch.int64)],
        "plain": [1, -1, 2.5, "text", None, True, (1, (2, 3)), {}, 2**60, 300, 70_000],
        "ordered": OrderedDict(a=1),
        3: "three",
    }
    torch.save(content, tmp_path / "file")
    found = outline_of(tmp_path / "file")
    content["state_dict"], content["ordered"] = dict(network.state_dict()), {"a": 1}
    assert same(found, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.zeros(1).expand(10**12), "has only 1 elements"),
        (torch.zeros(5).as_strided((3, 3), (1, 1)), "has only 5 elements"),
        (torch.zeros(3, device="meta"), "_rebuild_meta_tensor"),
        (torch.eye(3).to_sparse(), "_get_layout"),
        (torch.zeros(3, dtype=torch.cfloat), "not dense"),
        (torch.float32, "bare storage or type"),
        ({(1, 2): 3}, "a key is a tuple"),
        ({1.5: 3}, "a key is a float"),
        ({1, 2}, "'__builtin__.set'"),
        (Path("a"), "pathlib"),
        (print, "bare storage or type"),
    ],
)
def test_what_is_no_plain_value_or_dense_tensor_is_refused(content: Any, reason: str, tmp_path: Path) -> None:
    torch.save({"a": content}, tmp_path / "file")
    with pytest.raises(ValueError, match=reason):
        outline_of(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (in_pickle(b"K\x0c", b"K\x0d"), "declares 13 elements, but its record has 48 bytes"),
        (in_pickle(b"FloatStorage", b"LongStorage"), "declares 12 elements"),
        (in_pickle(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"), "its record has None bytes"),
        (in_pickle(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x000"), None),
        (whole_pickle(b"\x80\x02]q\x00h\x00a."), "nested too deeply, or endless"),
        (whole_pickle(b"\x80\x02." ), "."),
        (whole_pickle(b"\x80\x02" + b"(" * 100), "."),
        (whole_pickle(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."), "'os.system'"),
        (whole_pickle(b"\x80\x02ccollections\nOrderedDict\n)RX\x05\x00\x00\x00itemsK\x01s}X\x05\x00\x00\x00itemsK\x01sb."),
         "an object has attributes"),
        (whole_pickle(b"\x80\x02]" + b"]a" * 100 + b"."), None),
        (whole_pickle(b"\x80\x02" + b"]" * 100 + b"a" * 99 + b"."), "nested too deeply"),
        (lambda name, content: None if name.endswith("data.pkl") else content, "no data.pkl"),
        (lambda name, content: None if name.endswith("data/0") else content, "its record has None"),
        (lambda name, content: b"big" if name.endswith("byteorder") else content, "not little-endian"),
    ],
)  # fmt: skip
def test_a_pickle_that_lies_is_refused(change: Any, reason: str | None, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(12.0)}, tmp_path / "file")
    rewrite(tmp_path / "file", change)
    if reason is None:
        outline_of(tmp_path / "file")
        return
    with pytest.raises(Exception, match=reason):  # IndexError and others for a damaged pickle
        outline_of(tmp_path / "file")


def test_tensors_that_are_too_large_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "file")
    outline_of(tmp_path / "file", max_bytes=4000)
    with pytest.raises(ValueError, match="its tensors have 4,000 bytes, expected at most 3,999"):
        outline_of(tmp_path / "file", max_bytes=3999)


def test_an_older_format_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "file", _use_new_zipfile_serialization=False)
    with pytest.raises(Exception, match="not a zip file"):
        outline_of(tmp_path / "file")
    with pytest.raises(Exception, match="not a zip file"):
        outline(io.BytesIO(b""), num_bytes=0)
