"""Weights from the files of this program and of others."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_folder import make_folder
from torch import Tensor, nn

from cifar100.errors import UserError
from cifar100.runs.weight_files import read_weights

LIMIT = 10**6


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def prefixed(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in weights.items()}


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return dict(network().state_dict())


def assert_read(path: Path, weights: Mapping[str, Tensor]) -> None:
    found = read_weights(path, max_bytes=LIMIT).weights
    assert list(found) == list(weights)
    assert all(torch.equal(value, weights[name]) for name, value in found.items())


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "weights"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module.", "network."])
def test_the_weights_of_other_programs_are_found(
    new_format: bool, key: str | None, prefix: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    named = prefixed(weights, prefix)
    content = named if key is None else {key: named, "epoch": 7, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=new_format)
    assert_read(tmp_path / "file.pt", weights)


def test_averaged_weights_are_preferred(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    other = {name: value + 1 for name, value in weights.items()}
    torch.save({"state_dict": other, "state_dict_ema": weights}, tmp_path / "timm.pth.tar")
    torch.save(
        {"state_dict": prefixed(other, "network."), "averaged": {"weights": weights, "steps": 3}}, tmp_path / "own.ckpt"
    )
    for name in ("timm.pth.tar", "own.ckpt"):
        assert_read(tmp_path / name, weights)


def test_what_is_saved_beside_our_network_is_left_out(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({"state_dict": {**prefixed(weights, "network."), "sam.state": torch.zeros(3)}}, tmp_path / "own.ckpt")
    assert_read(tmp_path / "own.ckpt", weights)


def test_safetensors(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    safetensors_torch = pytest.importorskip("safetensors.torch")
    safetensors_torch.save_file(weights, tmp_path / "file.safetensors")
    found = read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT)
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in found.weights.items())
    assert not found.is_ordered
    assert (found.normalization, found.image_size) == (None, None)


def test_an_export_says_how_its_images_were_normalised(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    safetensors_torch = pytest.importorskip("safetensors.torch")
    facts: dict[str, Any] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "run": "x"}
    safetensors_torch.save_file(weights, tmp_path / "file.safetensors", metadata={"cifar100": json.dumps(facts)})
    found = read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT)
    assert found.normalization == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.image_size == 32  # an earlier version wrote none
    facts["image_size"] = 64
    safetensors_torch.save_file(weights, tmp_path / "file.safetensors", metadata={"cifar100": json.dumps(facts)})
    assert read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT).image_size == 64
    facts["std"] = [0, 0, 0]
    safetensors_torch.save_file(weights, tmp_path / "file.safetensors", metadata={"cifar100": json.dumps(facts)})
    assert read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT).normalization is None


@pytest.mark.parametrize("own", [True, False])
def test_a_run_says_how_its_images_were_normalised(own: bool, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    info = make_folder(tmp_path / "data")
    run = tmp_path / "logs/a"
    (run / "lightning_checkpoints").mkdir(parents=True)
    (tmp_path / "data/dataset.json").rename(run / "dataset.json")
    data: dict[str, Any] = {"mean": None, "std": None}
    if own:
        data = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    path = run / "lightning_checkpoints/best.ckpt"
    data["image_size"] = 96
    content = {"state_dict": prefixed(weights, "network."), "hyper_parameters": {"config": {"data": data}}}
    torch.save(content, path)
    found = read_weights(path, max_bytes=LIMIT)
    assert found.normalization == (((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)) if own else info.normalization)
    assert found.image_size == 96
    data["image_size"] = None
    torch.save(content, path)
    assert read_weights(path, max_bytes=LIMIT).image_size == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(3)], "holds no weights by name, expected a state dict, or one under state_dict, .* or weights"),
        ({}, "holds no weights by name"),
        ({"a": torch.zeros(3), "b": 3}, "holds no weights by name"),
        ({"state_dict": {"a": 1}}, "holds no weights by name"),
        ({"a": torch.zeros(3), "hook": print}, "damaged or holds more than weights"),
        ({"a": torch.zeros(10**6)}, "its tensors have 4,000,000 bytes, expected at most 1,000,000"),
    ],
)
@pytest.mark.parametrize("new_format", [True, False])
def test_what_is_no_weights_is_one_line(content: Any, message: str, new_format: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError, match=message) as raised:
        read_weights(tmp_path / "file.pt", max_bytes=LIMIT)
    assert "\n" not in str(raised.value)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("new_format", [True, False])
def test_no_code_in_a_file_runs(new_format: bool, tmp_path: Path) -> None:
    torch.save({"a": Attack(tmp_path / "trace")}, tmp_path / "file.pt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError, match=r"it holds '(posix|nt)\.mkdir'"):
        read_weights(tmp_path / "file.pt", max_bytes=LIMIT)
    assert not (tmp_path / "trace").exists()


def header(content: Any, *, length: int | None = None) -> bytes:
    text = json.dumps(content).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


HUGE = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
OVERLAPPING = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}


@pytest.mark.parametrize(
    "content",
    [
        header(HUGE),
        header(OVERLAPPING) + b"\0" * 8,
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),
        header({}, length=99_000_000),
        header({"a": 3}),
    ],
)
def test_a_safetensors_file_that_lies_is_refused(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "file.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read: it is damaged"):
        read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT)


def test_a_large_safetensors_file_is_refused(tmp_path: Path) -> None:
    safetensors_torch = pytest.importorskip("safetensors.torch")
    safetensors_torch.save_file({"a": torch.zeros(10**6)}, tmp_path / "file.safetensors")
    with pytest.raises(UserError, match=r"bytes, expected at most 1,000,000"):
        read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT)


def test_safetensors_needs_its_package(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.safetensors").write_bytes(header({}))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError, match=r'safetensors is not installed, .* pip install "cifar100\[timm\]"'):
        read_weights(tmp_path / "file.safetensors", max_bytes=LIMIT)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**24)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither a safetensors file nor written by torch.save"),
        (b"<!DOCTYPE html>", "is neither"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is neither"),
        (zip_bomb(), "cannot be read: it is damaged or holds more than weights"),
        (b"\x80\x02K\x01.\x80\x02K\x02.", "does not begin as a file of torch"),
    ],
)
def test_another_file_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "file.pt", max_bytes=LIMIT)


def test_a_missing_file_or_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing.pt cannot be read \(No such file or directory\)"):
        read_weights(tmp_path / "missing.pt", max_bytes=LIMIT)
    with pytest.raises(UserError, match=r"cannot be read \("):
        read_weights(tmp_path, max_bytes=LIMIT)
