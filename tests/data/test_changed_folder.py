"""Training and preparation in a folder that has changed since it was prepared. Each advice is followed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, paint, write_csv
from ended_processes import partial_of_ended_process
from fabricated_release import fabricate, python_files, write_folder

from cifar100.cli.main import main
from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.preparation import releases
from cifar100.data.prepare import ensure_prepared, ensure_unchanged, prepare
from cifar100.data.sources import shapes100
from cifar100.data.sources.shapes100 import draw
from cifar100.environment import describe_data
from cifar100.errors import UserError

RELEASE = draw(train_per_class=1, test_per_class=1)


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shapes100, "draw", lambda: RELEASE)
    prepare_release(RELEASE, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    ensure_prepared("download", make_custom(tmp_path / "pets"))
    return tmp_path / "pets"


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


# ---------------------------------------------------------------- custom data


@pytest.mark.parametrize("act", [lambda root: prepare(source="download", root=root), ensure_unchanged])
def test_unchanged_custom_data_are_only_read(act: Callable[[Path], DatasetInfo], custom: Path) -> None:
    before = times(custom)
    assert act(custom) == DataFolder(custom).info()
    assert times(custom) == before


def test_changed_custom_data_are_prepared_again_and_the_change_is_named(
    custom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ensure_prepared("download", custom)
    paint(custom / "train_images/00.png", "red", seed=99)
    after = ensure_prepared("download", custom)
    assert capsys.readouterr().out == (
        f"{custom}: train_images/00.png has changed since preparation; preparing the data again\n"
        f"{custom}: found train.csv: 2 classes (red, blue), 20 training, 6 test images\n"
    )
    assert after.sha256["train"] != before.sha256["train"]
    assert after.sha256["test"] == before.sha256["test"]
    images, _ = DataFolder(custom).load("train")
    assert not np.array_equal(images[0], images[2])
    assert ensure_prepared("download", custom) == after
    assert capsys.readouterr().out == ""


def test_the_identity_of_custom_data_is_that_of_its_arrays(custom: Path) -> None:
    before = ensure_prepared("download", custom)
    for split in ("train", "test"):  # other names and files, the same pixels and labels
        (custom / f"{split}_images").rename(custom / f"photos_{split}")
        file = custom / f"{split}.csv"
        file.write_text(file.read_text().replace(f"{split}_images", f"photos_{split}"))
    assert ensure_prepared("download", custom) == before
    write_csv(custom / "test.csv", [f"photos_test/{index:02d}.png" for index in range(6)], [1, 0] * 3)
    after = ensure_prepared("download", custom)
    assert (after.sha256["train"], after.num_test) == (before.sha256["train"], 6)
    assert after.sha256["test"] != before.sha256["test"]


def test_what_a_validation_csv_holds_out_is_counted_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_custom(tmp_path / "pets", val=4)
    prepare(source="download", root=root)
    assert "  20 training images, 4 validation images, 6 test images\n" in capsys.readouterr().out
    assert describe_data(root)["images"] == "20 training, 4 validation, 6 test, 2 classes"


def test_leftovers_go_even_if_nothing_has_changed(generated: Path, custom: Path) -> None:
    for root, place in ((generated, "cifar100_images/train"), (custom, "packed")):
        partial_of_ended_process(root / place / "x").write_text("half")
    prepare(source="generated", root=generated)
    ensure_prepared("download", custom)
    assert not [*generated.rglob("*.partial"), *custom.rglob("*.partial")]


def test_a_test_split_that_is_gone_leaves_no_arrays(custom: Path) -> None:
    (custom / "test.csv").unlink()
    assert ensure_prepared("download", custom).num_test == 0
    assert not DataFolder(custom).packed_images("test").exists()


def test_damaged_facts_are_written_again(custom: Path) -> None:
    before = ensure_prepared("download", custom)
    DataFolder(custom).info_file.write_text("damaged")
    assert ensure_prepared("download", custom) == before


def test_prepare_finds_what_was_edited_under_the_old_size_and_time(custom: Path) -> None:
    file = custom / "train.csv"
    before, facts = file.stat(), DataFolder(custom).info()
    file.write_text(file.read_text().replace("03.png,1,blue\n", "03.png,0,red \n"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ensure_prepared("download", custom) == facts
    assert prepare(source="download", root=custom).sha256["train"] != facts.sha256["train"]


def test_custom_data_in_place_of_a_release_are_prepared(generated: Path) -> None:
    make_custom(generated)
    assert ensure_prepared("download", generated).origin == "custom"


# ---------------------------------------------------------------- releases


def edit_image(root: Path) -> None:
    paint(sorted((root / "cifar100_images/train").glob("*.png"))[3], "red")


def edit_labels(root: Path) -> None:
    file = root / "cifar100_images/train.csv"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join([rows[0], rows[1].replace(",", ", ", 1), *rows[2:]]))


def edit_original(root: Path) -> None:
    (root / "cifar-100-python/train").write_bytes(b"damaged")


@pytest.mark.parametrize("edit", [edit_image, edit_labels, edit_original])
def test_an_edited_release_is_not_used_until_the_advice_is_followed(
    edit: Callable[[Path], None],
    generated: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(generated)
    with pytest.raises(UserError, match="has changed since preparation; to undo the change, run: ") as caught:
        ensure_prepared("generated", generated)
    command = str(caught.value).partition("run: cifar100 ")[2].partition(";")[0]
    monkeypatch.setattr(sys, "argv", ["cifar100", *shlex.split(command)])
    main()
    assert "changed; writing everything again" in capsys.readouterr().out
    assert ensure_prepared("generated", generated).name == "Shapes-100"


@pytest.mark.parametrize("edit", [edit_image, edit_labels])
def test_edited_images_of_a_release_can_be_used_as_custom_data(edit: Callable[[Path], None], generated: Path) -> None:
    edit(generated)
    with pytest.raises(UserError, match=r"use .*\bcifar100_images as the data folder \(--data.root\)"):
        ensure_prepared("generated", generated)
    assert ensure_prepared("download", generated / "cifar100_images").origin == "custom"


@pytest.mark.parametrize("kind", ["inverted", "gone", "facts"])
def test_packed_arrays_are_made_again_from_the_originals(
    kind: str, generated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(releases, "load", None)  # neither drawn nor downloaded
    before = DataFolder(generated).info()
    packed = DataFolder(generated).packed_images("train")
    if kind == "inverted":
        stat = packed.stat()
        np.save(packed, 255 - np.load(packed))
        os.utime(packed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif kind == "gone":
        shutil.rmtree(packed.parent)
    else:
        file = DataFolder(generated).info_file
        file.write_text(file.read_text().replace('"mean": [\n    0.', '"mean": [\n    0.1', 1))
    assert ensure_prepared("generated", generated) == before
    assert "changed; writing everything again" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(packed), RELEASE.train.images)


def test_images_that_are_not_needed_may_be_missing(generated: Path) -> None:
    shutil.rmtree(generated / "cifar100_images")
    info = ensure_prepared("generated", generated, needs_images=False)
    assert not (generated / "cifar100_images").exists()
    assert ensure_prepared("generated", generated) == info
    assert len(list((generated / "cifar100_images/train").iterdir())) == 100


def test_an_altered_release_without_its_originals_names_the_way_out(tmp_path: Path) -> None:
    release = fabricate(num_train=24, num_test=8)
    source = write_folder(python_files(release), tmp_path / "given")
    info = prepare(source=str(source), root=tmp_path / "root")
    shutil.rmtree(tmp_path / "root/packed")
    shutil.rmtree(tmp_path / "root/cifar-100-python")
    with pytest.raises(UserError, match=r"missing or damaged as well; .* --source PATH --root"):
        ensure_prepared("download", tmp_path / "root")
    assert prepare(source=str(source), root=tmp_path / "root") == info
    assert ensure_prepared("download", tmp_path / "root") == info


def test_edited_originals_of_an_altered_release_are_restored_from_their_source(tmp_path: Path) -> None:
    source = write_folder(python_files(fabricate(num_train=24, num_test=8)), tmp_path / "given")
    info = prepare(source=str(source), root=tmp_path / "root")
    edit_original(tmp_path / "root")
    with pytest.raises(UserError, match=r"run: cifar100 prepare --source PATH --root .*, where PATH is their source"):
        ensure_prepared("download", tmp_path / "root")
    assert prepare(source=str(source), root=tmp_path / "root") == info
    assert ensure_prepared("download", tmp_path / "root") == info


# ---------------------------------------------------------------- copies and read-only folders


def test_a_copy_with_other_times_is_compared_once(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in generated.rglob("*"):
        os.utime(path, (0, 0))
    info = ensure_prepared("generated", generated)
    monkeypatch.setattr("cifar100.data.folder.changes.read_image", None)
    assert ensure_prepared("generated", generated) == info


@pytest.mark.parametrize("kind", ["generated", "custom"])
def test_a_read_only_folder_is_used_and_never_written_to(
    kind: str, generated: Path, custom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = generated if kind == "generated" else custom
    source = "generated" if kind == "generated" else "download"
    for path in root.rglob("*"):
        os.utime(path, (0, 0))  # copied
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    before = times(root)
    info = ensure_prepared(source, root)
    assert prepare(source=source, root=root) == info
    assert times(root) == before
    shutil.rmtree(root / "packed")
    message = r"cannot be written \(Permission denied\); change its permissions"
    with pytest.raises(UserError, match="copy the folder" if kind == "custom" else message):
        ensure_prepared(source, root)


def test_the_home_folder_may_be_written_as_a_tilde(custom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(custom.parent))
    assert prepare(source="download", root=Path("~/pets")) == ensure_prepared("~/pets", Path("~/pets"))
    with pytest.raises(UserError, match="names the home folder of a user"):
        prepare(source="download", root=Path("~nobody_of_this_name/pets"))
