"""Read damaged and hostile files of every untrusted kind: each gives a value or a one-line error, and runs nothing.

The normal tests cover a few hundred cases, the slow ones more than ten thousand. The cases are the same in every run.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated_release import fabricate, python_tables
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from cifar100.data.dataset_info import read_info
from cifar100.data.folder.array_files import read_npy
from cifar100.data.folder.csv_labels import read_rows
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.splits import Split, load_split, save_split
from cifar100.data.sources.official import read_release
from cifar100.data.sources.pickles import load_pickle
from cifar100.errors import UserError
from cifar100.runs.checkpoints import load_weights, read_checkpoint
from cifar100.runs.folder import RunFolder, read_parts
from cifar100.runs.history import History
from cifar100.runs.listing import summarize
from cifar100.runs.status import read_status
from cifar100.settings import load_complete_config, load_config, write_config

CANARY = "canary"
"""The file that hostile content would create in the working directory, in its own folder or in a parent."""


class Touch:
    """Unpickled without protection, it creates the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY),)


LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 9)) for letter in b"bcdefghij"
)
"""YAML of 400 bytes with 9 to the tenth entries."""

HOSTILE = [
    pickle.dumps(Touch(), protocol=2),
    f"cos\nsystem\n(S'touch {CANARY}'\ntR.".encode(),
    f"!!python/object/apply:os.system ['touch {CANARY}']\n".encode(),
    f"training: !!python/object/new:os.system ['touch {CANARY}']\n".encode(),
    LAUGHS,
    b"[" * 3000,
    b'{"epochs":' * 2000,
    b'{"epochs": [NaN, {"epoch": 1e999}], "best": [[]]}',
    b"../../" + CANARY.encode() + b",0\n",
    b"\x00" * 64,
    b"\xff\xfe" * 32,
    b"9" * 5000,
    b"2147483647",
    b"\r\n",
    b'"',
    b"=cmd|' /C calc'!A0",
    b"${HOME} $(touch canary) `touch canary`",
]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, valid content, and its reader."""

    name: str
    valid: Callable[[], bytes]
    read: Callable[[Path], object]


def of_buffer(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def tar_archive() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, table in python_tables(fabricate()).items():
                content = pickle.dumps(table, protocol=2)
                info = tarfile.TarInfo(f"cifar-100-python/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return of_buffer(write)


def zip_archive() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, table in python_tables(fabricate()).items():
                archive.writestr(f"cifar-100-python/{name}", pickle.dumps(table, protocol=2))

    return of_buffer(write)


def checkpoint_file() -> bytes:
    weights = {f"network.{name}": value for name, value in nn.Linear(3, 2).state_dict().items()}
    return of_buffer(lambda buffer: torch.save({"state_dict": weights, "epoch": 1}, buffer))


def read_weights(path: Path) -> None:
    load_weights(nn.Linear(3, 2), read_checkpoint(path), path)


def split_file() -> bytes:
    path = Path("valid.npz")
    save_split(Split(train=np.arange(8), validation=np.arange(8, 10)), path)
    return path.read_bytes()


def image_file(kind: str) -> Callable[[], bytes]:
    return lambda: of_buffer(lambda buffer: Image.effect_noise((40, 30), 9).convert("RGB").save(buffer, kind))


def read_metrics(path: Path) -> None:
    assert summarize(RunFolder(path.parent)) is not None
    History(path, {}).best()


def read_array(path: Path) -> None:
    try:
        read_npy(path)
    except ValueError as error:  # its callers add what to do
        raise UserError(f"{path}: {error}".replace("\n", " ")) from error


def complete_config() -> bytes:
    write_config(load_config("quickstart"), Path("valid.npz"), comment="a run")
    return Path("valid.npz").read_bytes()


STATUS = {"status": "finished", "message": "", "pid": 1, "host": "here", "updated": "2026-01-02"}
EPOCH = {"epoch": 1, "train/loss": 2.0, "val/accuracy": 0.5}
INFO = {
    "name": "CIFAR-100",
    "origin": "official",
    "num_train": 6,
    "num_test": 4,
    "class_names": ["a", "b"],
    "superclass_names": ["c"],
    "class_to_superclass": [0, 0],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
    "sha256": {"train": "0" * 64},
}
CSV = b'file,fine_label,fine_name\n"train.csv",0,apple\n'
YAML = b"recipe: quickstart\ntraining: {max_epochs: 3}\ndata: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}\n"
METRICS = {"finished": False, "best": EPOCH, "epochs": [EPOCH]}

KINDS = [
    Kind(
        "train",
        lambda: pickle.dumps(python_tables(fabricate())["train"], protocol=2),
        lambda path: load_pickle(path.read_bytes()),
    ),
    Kind("release.tar", tar_archive, read_release),
    Kind("release.zip", zip_archive, read_release),
    Kind("train.csv", lambda: CSV, read_rows),
    Kind("mine.yaml", lambda: YAML, lambda path: load_config(files=[path])),
    Kind("image.png", image_file("PNG"), read_image),
    Kind("image.gif", image_file("GIF"), read_image),
    Kind("image.jpg", image_file("JPEG"), read_image),
    Kind("last.ckpt", checkpoint_file, read_weights),
    Kind("split.npz", split_file, load_split),
    Kind("dataset.json", lambda: json.dumps(INFO).encode(), lambda path: read_info(path).describe()),
    Kind("release.tar.gz", lambda: gzip.compress(tar_archive()), read_release),
    Kind("array.npy", lambda: of_buffer(lambda buffer: np.save(buffer, np.arange(8))), read_array),
    Kind("status.json", lambda: json.dumps(STATUS).encode(), lambda path: read_status(RunFolder(path.parent))),
    Kind("custom_parts.json", lambda: b'{"network": "mine.Net"}', lambda path: read_parts(RunFolder(path.parent))),
    Kind("config.yaml", complete_config, load_complete_config),
    Kind("metrics.json", lambda: json.dumps(METRICS).encode(), read_metrics),
]

fraction = st.floats(0, 1, exclude_max=True)
change = st.one_of(
    st.tuples(st.just("set"), fraction, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), fraction, st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=40))),
    st.tuples(st.just("cut"), fraction, st.integers(1, 200).map(bytes)),
    st.tuples(st.just("end"), fraction, st.just(b"")),
    st.tuples(st.just("repeat"), fraction, st.integers(1, 400).map(bytes)),
    st.tuples(st.just("all"), fraction, st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=300))),
)


def changed(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for what, where, new in changes:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        content = {
            "set": before + new + after[len(new) :],
            "insert": before + new + after,
            "cut": before + after[len(new) :],
            "end": before,
            "repeat": before + after[: len(new)] + after,
            "all": new,
        }[what]
    return content


def check(kind: Kind, content: bytes, folder: Path) -> None:
    """Read the content from a file in a subfolder of the working directory `folder`."""
    path = folder / "place" / kind.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        kind.read(path)
        said = None
    except UserError as error:
        said = str(error)
    is_short = said is None or len(said) < 2000 or kind.name.endswith("yaml")  # the terminal cuts a longer line
    assert said is None or ("\n" not in said and len(said) > 10 and is_short)
    assert {file.name for file in path.parent.iterdir()} == {kind.name}
    path.unlink()
    assert not {file.name for file in folder.iterdir()} - {"place", "valid.npz"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def fuzz(kind: Kind, folder: Path, *, cases: int) -> None:
    valid = kind.valid()
    kind_path = folder / "place" / kind.name
    kind_path.parent.mkdir()
    kind_path.write_bytes(valid)
    kind.read(kind_path)  # an error here would make the rest of the test meaningless
    kind_path.unlink()
    for hostile in HOSTILE:
        check(kind, hostile, folder)

    @settings(
        max_examples=cases,
        deadline=20_000,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(change, min_size=1, max_size=3))
    @example([("end", 0.0, b"")])
    def run(changes: list[tuple[str, float, bytes]]) -> None:
        check(kind, changed(valid, changes), folder)

    run()
    assert not (folder.parent / CANARY).exists()


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL", "ignore:.*Duplicate name:UserWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_file_gets_one_line_and_runs_nothing(kind: Kind, folder: Path) -> None:
    fuzz(kind, folder, cases=40)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL", "ignore:.*Duplicate name:UserWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_ten_thousand_hostile_files(kind: Kind, folder: Path) -> None:
    fuzz(kind, folder, cases=900)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore:.*Duplicate name:UserWarning")
def test_twenty_thousand_hostile_files_take_little_time_and_memory(folder: Path) -> None:
    kinds = [kind for kind in KINDS if not kind.name.startswith("image")]
    generator, before, slowest, count = random.Random(0), peak_mib(), (0.0, ""), 0
    for kind in kinds:
        valid = kind.valid()
        for _ in range(20_000 // len(kinds) + 1):
            content = changed(valid, [random_change(generator) for _ in range(generator.randint(1, 3))])
            started = time.monotonic()
            check(kind, content, folder)
            slowest = max(slowest, (time.monotonic() - started, kind.name))
            count += 1
    print(f"{count} files; slowest {slowest}; {peak_mib() - before} MiB above {before}")
    assert count >= 20_000
    assert slowest[0] < 5
    assert peak_mib() - before < 1024


SIZES = [b"\xff" * 4, b"\xff" * 8, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"]


def random_change(generator: random.Random) -> tuple[str, float, bytes]:
    kind = generator.choice(["set", "set", "set", "insert", "cut", "end", "repeat", "hostile"])
    where = generator.random()
    if kind == "hostile":
        return "insert", where, generator.choice(HOSTILE)
    if generator.random() < 0.3:  # numbers that are often sizes
        return (
            kind,
            where,
            generator.choice(SIZES),
        )
    return kind, where, generator.randbytes(generator.randint(1, 40))


def peak_mib() -> int:
    import resource  # POSIX only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_the_canary_can_sing(folder: Path) -> None:
    pickle.loads(HOSTILE[0])
    assert (folder / CANARY).exists()
