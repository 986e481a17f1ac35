from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom
from ended_processes import partial_of_ended_process
from fabricated_release import binary_files, equal, fabricate, python_files, write_folder, write_tar
from PIL import Image

from cifar100 import taxonomy
from cifar100.data import description
from cifar100.data.folder.image_files import image_file_names
from cifar100.data.folder.layout import SPLITS, DataFolder
from cifar100.data.folder.ownership import LOCK
from cifar100.data.folder.record import RECORD
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.preparation import releases
from cifar100.data.prepare import ensure_prepared, prepare, refuse_moved
from cifar100.data.sources.official import read_release
from cifar100.data.sources.release import Release
from cifar100.data.sources.shapes100 import CLASS_NAMES, draw
from cifar100.errors import UserError

FABRICATED = fabricate(num_train=24, num_test=8)


def tree(root: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file, except the lock and the record of times."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name not in (RECORD, LOCK))
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_tar(python_files(FABRICATED), tmp_path / "given.tar.gz")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(folder: Path) -> Path:
        raise AssertionError("a download was started")

    monkeypatch.setattr(releases, "download", download)


# ---------------------------------------------------------------- what is written


def test_a_prepared_folder_holds_exactly_its_files(tiny_data: Path) -> None:
    files = set(tree(tiny_data))
    images = {file for file in files if file.endswith(".png")}
    assert len(images) == 800
    assert files - images == {
        "dataset.json",
        *(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        *(f"cifar100_images/{split}.csv" for split in SPLITS),
        *(f"packed/{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels")),
    }


@pytest.mark.parametrize("split", SPLITS)
def test_png_files_csv_rows_and_arrays_agree(tiny_data: Path, split: str) -> None:
    folder = DataFolder(tiny_data)
    info = folder.info()
    images, labels = folder.load(split)
    drawn = getattr(draw(train_per_class=6, test_per_class=2), split)
    np.testing.assert_array_equal(images, drawn.images)
    np.testing.assert_array_equal(labels, drawn.fine_labels)
    with folder.csv(split).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(images)
    for index, (row, image, label) in enumerate(zip(rows, images, labels, strict=True)):
        superclass = drawn.coarse_labels[index]
        assert row == {
            "file": f"{split}/{index:05d}_{CLASS_NAMES[label]}.png",
            "fine_label": str(label),
            "fine_name": CLASS_NAMES[label],
            "superclass_label": str(superclass),
            "superclass_name": info.superclass_names[superclass],
        }
        with Image.open(folder.images / row["file"]) as png:
            assert (png.format, png.mode) == ("PNG", "RGB")
            np.testing.assert_array_equal(np.asarray(png), image.transpose(1, 2, 0))


def test_the_facts_are_those_of_the_images(tiny_data: Path) -> None:
    folder = DataFolder(tiny_data)
    info = folder.info()
    images, _ = folder.load("train")
    pixels = images.astype(np.float64) / 255
    np.testing.assert_allclose(info.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(info.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)
    assert (info.name, info.origin, info.num_train, info.num_test) == ("Shapes-100", "generated", 600, 200)
    assert info.sha256 == {"train": read_release(folder.originals).train.sha256()} | {
        "test": read_release(folder.originals).test.sha256()
    }
    for name, superclass in zip(info.class_names, info.class_to_superclass, strict=True):
        assert name.endswith(info.superclass_names[superclass])


@pytest.mark.parametrize("files", [python_files, binary_files])
@pytest.mark.parametrize("container", [write_folder, lambda files, path: write_tar(files, path.with_suffix(".tar.gz"))])
def test_every_container_gives_the_same_folder(
    files: Callable[[Release], dict[str, bytes]], container: Callable[[dict[str, bytes], Path], Path], tmp_path: Path
) -> None:
    source = container(files(FABRICATED), tmp_path / "given")
    info = prepare(source=str(source), root=tmp_path / "root")
    folder = DataFolder(tmp_path / "root")
    assert (info.name, info.origin) == ("CIFAR-100", "altered")
    assert folder.info() == info
    assert equal(read_release(folder.originals), FABRICATED)
    images, labels = folder.load("train")
    np.testing.assert_array_equal(images, FABRICATED.train.images)
    np.testing.assert_array_equal(labels, FABRICATED.train.fine_labels)
    if files is python_files:
        for name, content in python_files(FABRICATED).items():
            assert (folder.originals / name).read_bytes() == content, "the originals are kept as they came"


def test_file_names_are_safe_whatever_a_class_is_called() -> None:
    names = ("sweet pepper", "../up", "ä", "large_man-made")
    assert image_file_names(np.array([0, 1, 2, 3]), names) == [
        "00000_sweet_pepper.png",
        "00001____up.png",
        "00002__.png",
        "00003_large_man-made.png",
    ]


# ---------------------------------------------------------------- running it again


def test_a_complete_folder_is_left_alone(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    first = prepare(source=str(archive), root=root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    capsys.readouterr()
    assert prepare(source=str(archive), root=root) == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times
    assert capsys.readouterr().out == f"{root}: {first.describe()}\n  24 training images, 8 test images\n"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def change_a_pixel(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [Path.unlink, cut])
@pytest.mark.parametrize(
    "pattern", ["cifar100_images/train/*.png", "cifar100_images/test.csv", "packed/train_images.npy", "dataset.json"]
)
def test_what_is_missing_or_cut_off_is_written_again(
    archive: Path, tmp_path: Path, pattern: str, harm: Callable[[Path], None]
) -> None:
    root = tmp_path / "root"
    prepare(source=str(archive), root=root)
    intact = tree(root)
    harm(sorted(root.glob(pattern))[-1])
    assert tree(root) != intact
    prepare(source=str(archive), root=root)
    assert tree(root) == intact


@pytest.mark.parametrize("file", ["packed/test_images.npy", "packed/train_labels.npy"])
def test_a_changed_array_is_noticed(archive: Path, tmp_path: Path, file: str) -> None:
    root = tmp_path / "root"
    prepare(source=str(archive), root=root)
    intact = tree(root)
    change_a_pixel(root / file)
    prepare(source=str(archive), root=root)
    assert tree(root) == intact


def test_a_lost_original_is_restored(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    prepare(source=str(archive), root=root)
    intact = tree(root)
    (root / "cifar-100-python/meta").unlink()
    prepare(source=str(archive), root=root)
    assert tree(root) == intact


class Killed(BaseException):
    pass


@pytest.mark.parametrize("num_files", [0, 1, 3, 4, 11, 29, 31, 40, 42])
def test_an_interrupted_preparation_can_be_run_again(
    tmp_path: Path, num_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_release(FABRICATED, tmp_path / "reference")
    reference = tree(tmp_path / "reference")
    assert len(reference) == 42
    root, replace, done = tmp_path / "root", Path.replace, []

    def replace_or_die(path: Path, target: Path) -> Path:
        if len(done) == num_files:
            raise Killed
        done.append(target)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(Killed):
            prepare_release(FABRICATED, root)
    assert not DataFolder(root).is_prepared()
    with pytest.raises(UserError, match="no prepared data"):
        DataFolder(root).load("train")
    prepare_release(FABRICATED, root)
    assert tree(root) == reference


def test_a_killed_process_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cifar100.data.sources.shapes100 import draw\n"
        "from cifar100.data.folder.release_images import prepare_release\n"
        "prepare_release(draw(train_per_class=60, test_per_class=2), Path(sys.argv[1]))\n"
    )
    root = tmp_path / "root"
    process = subprocess.Popen([sys.executable, "-c", program, str(root)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any((root / "cifar100_images/train").glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() != 0
    assert not (root / "dataset.json").exists()
    release = draw(train_per_class=1, test_per_class=1)  # other data, so that nothing of the first may stay
    partial_of_ended_process(root / "cifar100_images/train/00007_x.png").write_bytes(b"half")
    (root / "cifar100_images/train/notes.txt").write_text("mine")
    prepare_release(release, root)
    left = [path.name for path in (root / "cifar100_images/train").iterdir()]
    assert sorted(left) == sorted(["notes.txt", *image_file_names(release.train.fine_labels, release.class_names)])
    assert DataFolder(root).info().num_train == 100


# ---------------------------------------------------------------- other data


@pytest.mark.usefixtures("no_network")
def test_other_data_are_refused(tiny_data: Path, archive: Path, tmp_path: Path) -> None:
    before = tree(tiny_data)
    for source, asked in (("download", "not CIFAR-100, official"), (str(archive), "not CIFAR-100, not the official")):
        with pytest.raises(UserError, match=f"holds Shapes-100, generated.*{asked}.*another --root"):
            prepare(source=source, root=tiny_data)
    assert tree(tiny_data) == before
    prepare(source=str(archive), root=tmp_path / "root")
    for source, asked in (("download", "CIFAR-100, official"), ("generated", "Shapes-100")):
        with pytest.raises(UserError, match=f"holds CIFAR-100, not the official release.*not {asked}.*another --root"):
            prepare(source=source, root=tmp_path / "root")


@pytest.mark.usefixtures("no_network")
def test_training_never_gets_a_silent_stand_in(tiny_data: Path, archive: Path, tmp_path: Path) -> None:
    assert ensure_prepared("generated", tiny_data).name == "Shapes-100"
    for source in ("download", str(archive)):
        with pytest.raises(UserError, match=r"holds Shapes-100.*set --data.source generated .*another --data.root"):
            ensure_prepared(source, tiny_data)
    root = tmp_path / "root"
    info = ensure_prepared(str(archive), root)
    assert ensure_prepared(str(archive), root) == info
    assert ensure_prepared("download", root) == info  # the run says that it is not the official release
    with pytest.raises(UserError, match=r"holds CIFAR-100.*set --data.source download .*another --data.root"):
        ensure_prepared("generated", root)


def test_originals_that_somebody_else_put_there_are_kept(archive: Path, tmp_path: Path) -> None:
    others = write_folder(python_files(fabricate(num_train=30)), tmp_path / "root/cifar-100-python")
    before = tree(tmp_path / "root")
    with pytest.raises(UserError, match="move that folder away"):
        prepare(source=str(archive), root=tmp_path / "root")
    assert tree(tmp_path / "root") == before
    info = prepare(source=str(others), root=tmp_path / "root")
    assert info.num_train == 30


# ---------------------------------------------------------------- the download


def test_the_download_is_used_once(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(releases, "download", lambda folder: calls.append(folder) or archive)
    monkeypatch.setattr(description, "_origin", lambda *_: "official")
    root = tmp_path / "root"
    info = prepare(source="download", root=root)
    assert calls == [root]
    (root / "dataset.json").unlink()  # as if it had been killed at the very end
    assert ensure_prepared("download", root) == info
    assert calls == [root], "the original files were there"


# ---------------------------------------------------------------- what cannot be written or read


def test_a_full_disk_is_one_line_and_leaves_nothing_that_looks_complete(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, replace, done = tmp_path / "root", Path.replace, []

    def replace_until_full(path: Path, target: Path) -> Path:
        done.append(target)
        if len(done) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_until_full)
        with pytest.raises(
            UserError, match=r"cannot be written \(No space left on device\).*free some space"
        ) as caught:
            prepare(source=str(archive), root=root)
    assert "\n" not in str(caught.value)
    assert not DataFolder(root).is_prepared()
    assert not [path for path in root.rglob("*") if path.name.endswith(".partial")]


def test_a_root_that_is_a_file_is_refused(archive: Path, tmp_path: Path) -> None:
    for root in (archive, archive / "below"):
        with pytest.raises(UserError, match="is a file, expected a folder"):
            prepare(source=str(archive), root=root)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root and Windows write everywhere")
def test_a_read_only_folder_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o555)
    with pytest.raises(UserError, match="cannot be written"):
        prepare(source=str(archive), root=tmp_path / "root")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "nowhere",
            r"nowhere does not exist; a source is download \(CIFAR-100\), generated .*, or the path of labelled",
        ),
        ("downlaod", r"downlaod does not exist; did you mean download\? A source is download \(CIFAR-100\), generated"),
        (".", r"expected class folders .* or CIFAR-100's folder or archive"),
    ],
)
def test_a_source_without_data_is_refused(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare(source=source, root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


# ---------------------------------------------------------------- the real thing


@pytest.mark.slow
@pytest.mark.real_data
def test_the_official_release(real_source: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    start = time.monotonic()
    info = prepare(source=str(real_source), root=root)
    assert time.monotonic() - start < 120
    assert (info.name, info.origin, info.num_train, info.num_test) == ("CIFAR-100", "official", 50_000, 10_000)
    assert info.class_names == taxonomy.FINE_NAMES
    assert info.superclass_names == taxonomy.SUPERCLASS_NAMES
    assert info.class_to_superclass == taxonomy.FINE_TO_SUPERCLASS
    assert tuple(round(value, 7) for value in info.mean) == taxonomy.TRAIN_MEAN
    assert tuple(round(value, 7) for value in info.std) == taxonomy.TRAIN_STD
    folder = DataFolder(root)
    for split, count in (("train", 50_000), ("test", 10_000)):
        images, labels = folder.load(split)
        assert np.bincount(labels).tolist() == [count // 100] * 100
        with folder.csv(split).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len({row["file"] for row in rows}) == count == len(list((folder.images / split).iterdir()))
        for index in range(0, count, 97):
            assert rows[index]["fine_name"] == taxonomy.FINE_NAMES[labels[index]]
            with Image.open(folder.images / rows[index]["file"]) as png:
                np.testing.assert_array_equal(np.asarray(png), images[index].transpose(1, 2, 0))


# ---------------------------------------------------------------- custom data and the source of a recipe


def test_custom_data_are_used_whatever_the_source_of_the_recipe(tmp_path: Path) -> None:
    make_custom(tmp_path, train=4, test=0)
    for source in ("generated", "download"):
        assert ensure_prepared(source, tmp_path).origin == "custom"
    with pytest.raises(UserError, match=r"the source is generated; .* leave out --source"):
        prepare(source="generated", root=tmp_path)
    with pytest.raises(UserError, match=r"the source is elsewhere; .* leave out --source"):
        ensure_prepared("elsewhere", tmp_path)


@pytest.mark.parametrize("origin", ["custom", "altered"])
def test_nothing_is_prepared_in_the_place_of_data_that_have_moved(origin: str, tmp_path: Path) -> None:
    info = dataclasses.replace(prepare(source="download", root=make_custom(tmp_path / "zoo")), origin=origin)
    refuse_moved(tmp_path / "zoo", info)
    with pytest.raises(UserError, match=r"/away does not exist; the run was trained on zoo, .*--data.root"):
        refuse_moved(tmp_path / "away", info)
    for again in ("official", "generated"):
        refuse_moved(tmp_path / "away", dataclasses.replace(info, origin=again))
    assert not (tmp_path / "away").exists()
