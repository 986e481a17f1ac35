"""Every layout from its files to a prepared folder: the same images, whatever they come in, and what changes later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, paint
from labelled_images import arrays, class_folders, parquet, png
from PIL import Image

from cifar100 import commands, taxonomy
from cifar100.data.audit.images import image_files
from cifar100.data.folder import layout
from cifar100.data.folder.changes import find_changes
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DataFolder
from cifar100.data.layouts.class_folders import has_class_folders
from cifar100.data.layouts.reading import list_images, read_skipped
from cifar100.data.preparation import official_copies
from cifar100.data.prepare import ensure_prepared, ensure_unchanged, prepare
from cifar100.errors import UserError
from cifar100.results.evaluation_data import every_image

IMAGES, LABELS = arrays(12, side=40)
NAMES = ("cat", "dog")


def as_class_folders(path: Path) -> Path:
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        file = path / NAMES[label] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    return path


def as_table(path: Path) -> Path:
    (path / "photos").mkdir(parents=True)
    lines = ["id;class"]
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (path / f"photos/{index}.png").write_bytes(png(image))
        lines.append(f"photos\\{index};{NAMES[label]}")
    (path / "train.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def as_parquet(path: Path) -> Path:
    parquet(path / "data/train-0.parquet", IMAGES, {"label": LABELS.tolist()}, names={"label": NAMES})
    return path


def as_parquet_file(path: Path) -> Path:
    return parquet(path / "images.parquet", IMAGES, {"label": [NAMES[label] for label in LABELS]})


def as_arrays(path: Path) -> Path:
    path.mkdir()
    np.savez(path / "images.npz", x_train=IMAGES, y_train=LABELS, class_names=np.array(NAMES))
    return path / "images.npz"


LAYOUTS: list[Callable[[Path], Path]] = [as_class_folders, as_table, as_parquet, as_parquet_file, as_arrays]


def content(root: Path) -> set[tuple[bytes, str]]:
    """The pixels and the class name of each training image."""
    folder = DataFolder(root)
    images, labels = folder.load("train")
    names = folder.info().class_names
    return {(image.tobytes(), names[label]) for image, label in zip(images, labels.tolist(), strict=True)}


EXPECTED_FILES = {f"{index}.png" for index in range(12)}


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("place", ["in place", "elsewhere"])
def test_every_layout_gives_the_same_images(
    write: Callable[[Path], Path], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "given")
    root = tmp_path / "root" if place == "elsewhere" or source.is_file() else source
    arguments = {"source": "download" if root == source else str(source), "root": root}
    info = prepare(**arguments)  # type: ignore[arg-type]
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if ": found " in line]) == 1
    assert (info.name, info.origin, info.class_names) == (info.name, "custom", NAMES)
    assert info.name in ("given", "images")
    as_class_folders(tmp_path / "plain")
    prepare(source="download", root=tmp_path / "plain")
    assert content(root) == content(tmp_path / "plain")

    folder = DataFolder(root)
    files, labels = list_images(folder, "train", num_classes=2)
    packed, packed_labels = folder.load("train")
    assert labels.tolist() == packed_labels.tolist()
    for file, image in zip(files, packed, strict=True):  # what `predict` reads
        np.testing.assert_array_equal(read_image(folder.images / file), image.transpose(1, 2, 0))
    assert image_files(folder, labels, split="train") == files
    assert every_image(root).files == files

    before = sorted(path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file())
    assert prepare(**arguments) == info  # type: ignore[arg-type]
    assert ensure_prepared(str(arguments["source"]), root) == info
    assert ensure_prepared("generated", root) == info if root == source else True  # as a recipe's source
    assert sorted(path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()) == before


def test_images_that_come_and_go_in_class_folders_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = class_folders(tmp_path / "pets", parts={"train": 3, "val": 1, "test": 1})
    before = ensure_prepared("download", root)
    assert (before.num_train, before.num_validation, before.num_test) == (8, 2, 2)
    capsys.readouterr()
    steps: list[tuple[Callable[[], object], str, int]] = [
        (lambda: paint(root / "train/cat/9.png", "red", seed=50), "train/cat/9.png has been added", 9),
        (lambda: (root / "train/cat/9.png").unlink(), "train/cat/9.png is missing", 8),
        (lambda: paint(root / "train/dog/0.png", "blue", seed=51), "train/dog/0.png has changed", 8),
        (lambda: paint(root / "train/.hidden.png", "red"), "", 8),
        (lambda: paint(root / "train/cow/0.png", "red", seed=52), "train/cow/0.png has been added", 9),
        (lambda: shutil.rmtree(root / "val"), "val/cat/0.png and 1 more file are missing", 7),
    ]
    for change, expected, number in steps:
        change()
        assert ensure_unchanged(root).num_train == number
        said = capsys.readouterr().out
        assert (f"{root}: {expected} since preparation; preparing the data again\n" in said) if expected else not said
        ensure_unchanged(root)
        assert capsys.readouterr().out == ""
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "kitten")
    assert ensure_unchanged(root).class_names == ("cow", "dog", "kitten")


def test_class_folders_are_not_searched_again_for_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "pets", parts={"": 100})
    info = prepare(source="download", root=root)
    searched: list[Path] = []

    def search(folder: Path) -> bool:
        searched.append(folder)
        return has_class_folders(folder)

    monkeypatch.setattr(layout, "has_class_folders", search)
    assert not find_changes(DataFolder(root), info, thorough=True)
    assert len(searched) < 100, "of 200 images"


def test_class_folders_do_not_take_the_place_of_a_lost_table(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    lines = ["file,label", *(f"{name}/{index}.png,{name[0]}" for name in NAMES for index in range(4))]
    (root / "train.csv").write_text("\n".join(lines))
    assert prepare(source="download", root=root).class_names == ("c", "d")
    (root / "train.csv").unlink()
    with pytest.raises(UserError, match=r"were prepared from a train.csv, which is missing; rename the list"):
        ensure_prepared("download", root)


def test_class_folders_that_are_gone_are_not_replaced_by_their_arrays(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    prepare(source="download", root=root)
    for name in NAMES:
        shutil.rmtree(root / name)
    with pytest.raises(UserError, match="were prepared from class folders, which are missing; restore them"):
        ensure_prepared("download", root)


def damage(root: Path) -> None:
    (root / "cat/1.png").write_bytes(b"no image")
    (root / "dog/2.png").write_bytes((root / "dog/2.png").read_bytes()[:200])


def test_damaged_images_are_named_and_left_out_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = class_folders(tmp_path / "pets", parts={"": 5})
    damage(root)
    with pytest.raises(UserError, match=r"cat.1\.png is damaged or not an image .*--data.skip_damaged true"):
        ensure_prepared("download", root)
    assert not (root / "packed").exists()
    info = ensure_prepared("download", root, skip_damaged=True)
    said = capsys.readouterr().err
    assert f"{root}: 2 damaged images were skipped; skipped_images.csv lists them" in said
    assert f"skipped: {root / 'cat/1.png'} is damaged or not an image (8 bytes)\n" in said
    assert "leave it out" not in said, "it was left out"
    assert "leave it out" not in (root / "skipped_images.csv").read_text()
    assert info.num_train == 8
    assert list(read_skipped(root)) == ["cat/1.png", "dog/2.png"]
    assert list_images(DataFolder(root), "train", num_classes=2)[0] == [
        *(f"cat/{index}.png" for index in (0, 2, 3, 4)),
        *(f"dog/{index}.png" for index in (0, 1, 3, 4)),
    ]
    assert ensure_prepared("download", root, skip_damaged=True) == info
    assert ensure_unchanged(root) == info, "what evaluates follows what was prepared"
    with pytest.raises(UserError, match=r"cat.1\.png is damaged"):
        ensure_prepared("download", root)
    assert ensure_unchanged(root) == info
    paint(root / "cat/1.png", "red", seed=90)
    repaired = ensure_unchanged(root)
    assert (repaired.num_train, list(read_skipped(root))) == (9, ["dog/2.png"])
    paint(root / "dog/2.png", "blue", seed=91)
    assert ensure_prepared("download", root).num_train == 10
    assert not (root / "skipped_images.csv").exists()


def test_a_class_folder_that_begins_with_a_space_is_a_class_like_others(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", classes=(" cat", "dog"))
    copied = prepare(source=str(root), root=tmp_path / "copied")
    (root / " cat/1.png").write_bytes(b"no image")
    info = ensure_prepared("download", root, skip_damaged=True)
    assert (copied.num_train, info.num_train) == (8, 7)
    assert list(read_skipped(root)) == [" cat/1.png"]
    files, labels = list_images(DataFolder(root), "train", num_classes=2)
    assert files == [*(f" cat/{index}.png" for index in (0, 2, 3)), *(f"dog/{index}.png" for index in range(4))]
    assert np.array_equal(labels, DataFolder(root).load_labels("train"))


def test_a_class_is_not_left_out_with_its_damaged_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", parts={"": 1})
    (root / "cat/0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="all training images of the class 'cat' are damaged"):
        prepare(source="download", root=root, skip_damaged=True)
    assert not DataFolder(root).is_prepared()


def test_nothing_is_left_of_an_import_that_fails(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "pets")
    damage(source)
    root = tmp_path / "root"
    with pytest.raises(UserError, match=r"cat.1\.png is damaged"):
        prepare(source=str(source), root=root)
    assert not (root / "cifar100_images").exists()
    assert prepare(source=str(source), root=root, skip_damaged=True).num_train == 6


def test_another_or_a_changed_source_is_refused(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "pets")
    root = tmp_path / "root"
    info = prepare(source=str(source), root=root)
    other = class_folders(tmp_path / "others")
    with pytest.raises(UserError, match=r"holds images from .*\bpets, not from .*\bothers; choose another --root"):
        prepare(source=str(other), root=root)
    with pytest.raises(UserError, match=r"holds images from .*\bpets, not from .*\bothers"):
        ensure_prepared(str(other), root)
    paint(source / "cat/99.png", "red", seed=5)
    for again in (prepare, lambda *, source, root: ensure_prepared(source, root)):
        with pytest.raises(UserError, match=r"pets has changed since .*root was prepared from it; choose another"):
            again(source=str(source), root=root)
    assert ensure_prepared("download", root) == info, "without the source, the data are those that were copied"
    shutil.rmtree(source)
    assert ensure_prepared(str(source), root) == info
    with pytest.raises(UserError, match=r"holds custom data, but the source is .*nowhere"):
        ensure_prepared(str(tmp_path / "nowhere"), root)


def test_changed_files_of_images_are_noticed_where_they_lie(tmp_path: Path) -> None:
    source = as_parquet(tmp_path / "given")
    prepare(source="download", root=source)
    parquet(source / "data/train-0.parquet", IMAGES[:10], {"label": LABELS[:10].tolist()}, names={"label": NAMES})
    with pytest.raises(UserError, match=r"given has changed since .* was prepared from it"):
        ensure_prepared("download", source)
    shutil.rmtree(source / "cifar100_images")
    (source / "dataset.json").unlink()
    assert ensure_prepared("download", source).num_train == 10


def test_edited_copies_are_prepared_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    before = prepare(source=str(as_arrays(tmp_path / "given")), root=root)
    files, _ = list_images(DataFolder(root), "train", num_classes=2)
    paint(root / "cifar100_images" / files[0], "red", seed=77)
    capsys.readouterr()
    after = ensure_prepared("download", root)
    assert f"cifar100_images/{files[0]} has changed since preparation" in capsys.readouterr().out
    assert after.sha256 != before.sha256


def test_other_data_are_not_trained_on_in_place_of_a_source(tiny_data: Path, tmp_path: Path) -> None:
    source = class_folders(tmp_path / "pets")
    root = shutil.copytree(tiny_data, tmp_path / "root")
    with pytest.raises(UserError, match="holds Shapes-100"):
        prepare(source=str(source), root=root)
    with pytest.raises(UserError, match="holds Shapes-100"):
        ensure_prepared(str(source), root)


def test_skip_damaged_has_no_effect_on_a_release(tiny_data: Path) -> None:
    with pytest.raises(UserError, match=r"--data.skip_damaged has no effect: .* holds Shapes-100"):
        ensure_prepared("generated", tiny_data, skip_damaged=True)


UNKNOWN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.mkdir(), "holds no images; expected class folders"),
    "loose images": (lambda path: paint(path / "1.png", "red"), "holds images, but no labels; move them into a folder"),
    "train without classes": (lambda path: paint(path / "train/1.png", "red"), "train holds images, but no labels"),
    "other table": (
        lambda path: (path.mkdir(), (path / "mine.csv").write_text("file,label\n")),
        "holds mine.csv, but no train.csv; rename the table",
    ),
    "one level too high": (
        lambda path: make_custom(path / "inner"),
        r"holds no labelled images itself, but .*\binner does; pass that folder",
    ),
    "two kinds": (
        lambda path: (as_arrays(path), as_parquet_file(path)),
        "holds parquet files and .npz files: it is unclear which to use",
    ),
}


@pytest.mark.parametrize(("write", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
@pytest.mark.parametrize("place", ["source", "root"])
def test_an_unknown_layout_is_described_and_nothing_written(
    write: Callable[[Path], object], message: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "given"
    write(path)
    if place == "root" and message.startswith("holds no images"):
        return  # an empty folder is one to prepare in
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        ensure_prepared(*(("download", path) if place == "root" else (str(path), tmp_path / "root")))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_bombs_among_images_are_damaged_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", parts={"": 2})
    Image.new("1", (30_000, 30_000)).save(root / "cat/bomb.png")  # 900 million pixels in a few kilobytes
    with pytest.raises(UserError, match=r"cat.bomb\.png has 900,000,000 pixels .* expected at most"):
        prepare(source="download", root=root)
    assert prepare(source="download", root=root, skip_damaged=True).num_train == 4


def test_a_class_with_one_image_stays_in_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = class_folders(tmp_path / "pets", parts={"": 4})
    paint(root / "cow/0.png", "red", seed=99)
    prepare(source="download", root=root)
    warning = "1 of 3 classes have a single image, which stays in training and is not validated: cow"
    assert warning in capsys.readouterr().err


def test_official_images_in_other_files_are_the_official_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sums of a small release instead of the official ones; `real_data` below has the real ones."""
    from cifar100.data import description

    monkeypatch.setattr(official_copies, "NUM_IMAGES", {"train": 200, "test": 100})
    parts = {"train": arrays(200, num_classes=100), "test": arrays(100, num_classes=100, seed=1)}
    superclasses = np.array(taxonomy.FINE_TO_SUPERCLASS)
    from cifar100.data.sources.release import ReleaseSplit

    sums = {
        part: ReleaseSplit(
            images=images.transpose(0, 3, 1, 2), fine_labels=labels, coarse_labels=superclasses[labels]
        ).sha256()
        for part, (images, labels) in parts.items()
    }
    monkeypatch.setattr(description, "OFFICIAL_SHA256", sums)
    np.savez(
        tmp_path / "keras.npz",
        **{f"x_{part}": images for part, (images, _) in parts.items()},
        **{f"y_{part}": labels[:, None] for part, (_, labels) in parts.items()},
    )
    for part, (images, labels) in parts.items():
        columns = {"fine_label": labels.tolist(), "coarse_label": superclasses[labels].tolist()}
        names = {"fine_label": taxonomy.FINE_NAMES, "coarse_label": taxonomy.SUPERCLASS_NAMES}
        parquet(tmp_path / f"hub/cifar100/{part}-00000-of-00001.parquet", images, columns, names=names)
    for source in (tmp_path / "keras.npz", tmp_path / "hub"):
        info = prepare(source=str(source), root=tmp_path / f"from_{source.stem}")
        assert (info.name, info.origin, info.class_names) == ("CIFAR-100", "official", taxonomy.FINE_NAMES)
        assert ensure_prepared(str(source), tmp_path / f"from_{source.stem}") == info
    assert prepare(source="download", root=tmp_path / "hub").origin == "official", "in place"


def test_copies_of_torchvision_and_keras_are_found(tiny_data: Path, tmp_path: Path) -> None:
    originals = tiny_data / "cifar-100-python"
    for place in ("data/cifar-100-python", ".keras/datasets/cifar-100-python-target/cifar-100-python"):
        shutil.copytree(originals, tmp_path / place)
    (tmp_path / ".keras/datasets/mnist.npz").write_bytes(b"other things beside it")
    for number, place in enumerate(("data", ".keras/datasets")):
        info = prepare(source=str(tmp_path / place), root=tmp_path / f"root{number}")
        assert info.sha256 == DataFolder(tiny_data).info().sha256


@pytest.mark.slow
@pytest.mark.real_data
def test_the_hubs_parquet_and_keras_arrays_are_official(real_source: Path, tmp_path: Path) -> None:
    from cifar100.data.sources.official import read_release

    release = read_release(real_source)
    pixels = {}
    for part, split in (("train", release.train), ("test", release.test)):
        images = split.images.transpose(0, 2, 3, 1)
        columns = {"fine_label": split.fine_labels.tolist(), "coarse_label": split.coarse_labels.tolist()}
        parquet(tmp_path / f"hub/cifar100/{part}-00000-of-00001.parquet", images, columns)
        pixels |= {f"x_{part}": images, f"y_{part}": split.fine_labels[:, None]}
    np.savez(tmp_path / "keras.npz", **pixels)
    for source in ("hub", "keras.npz"):
        info = commands.prepare(tmp_path / source, tmp_path / f"from_{source}")
        assert info.origin == "official"


def test_the_origin_of_copies_is_written_down(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "pets")
    prepare(source=str(source), root=tmp_path / "root")
    origin = json.loads((tmp_path / "root/cifar100_images/source.json").read_text())
    assert (origin["source"], origin["name"]) == (os.fspath(source), "pets")
    (tmp_path / "root/cifar100_images/source.json").write_text("{}")
    with pytest.raises(UserError, match=r"source.json is damaged; remove .*root and prepare the data again"):
        prepare(source=str(source), root=tmp_path / "root")
