from __future__ import annotations

import os
from pathlib import Path

import pytest
from custom_folder import paint
from labelled_images import class_folders

from cifar100.data.layouts.class_folders import find_class_folders, has_class_folders
from cifar100.data.layouts.listing import Row, make_listing
from cifar100.data.layouts.reading import list_folder
from cifar100.errors import UserError


def test_classes_and_files_are_in_natural_order(tmp_path: Path) -> None:
    class_folders(tmp_path, parts={"": 11}, classes=("b10", "b2", "A1"))
    listing = list_folder(tmp_path)
    assert listing.class_names == ("A1", "b2", "b10")
    assert listing.files("train")[:11] == [f"A1/{index}.png" for index in range(11)]
    assert listing.labels("train").tolist() == [0] * 11 + [1] * 11 + [2] * 11
    assert (listing.num_validation, list(listing.rows)) == (0, ["train"])


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_splits_beside_train_are_used(name: str, tmp_path: Path) -> None:
    class_folders(tmp_path, parts={"Train": 3, name: 2, "test": 1})
    listing = list_folder(tmp_path)
    assert listing.files("train")[6:] == [f"{name}/{kind}/{index}.png" for kind in ("cat", "dog") for index in (0, 1)]
    assert listing.files("test") == ["test/cat/0.png", "test/dog/0.png"]
    assert listing.num_validation == 4
    assert listing.describe() == "found class folders: 2 classes (cat, dog), 6 training, 4 validation, 2 test images"


def test_nested_and_linked_images_belong_to_the_outer_class_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", parts={"train": 1})
    paint(tmp_path / "elsewhere/siamese/2.png", "red", seed=7)
    (root / "train/cat/linked").symlink_to(tmp_path / "elsewhere")
    (root / "train/dog/9.png").symlink_to(tmp_path / "elsewhere/siamese/2.png")
    paint(root / "train/cat/.ipynb_checkpoints/0-checkpoint.png", "red")
    paint(root / "train/.trash/0.png", "red")
    for name in (".DS_Store", "Thumbs.db", "._0.png", "notes.txt"):
        (root / "train/cat" / name).write_text("x")
    (root / "train/cat/without_suffix").write_bytes((root / "train/cat/0.png").read_bytes())
    listing = list_folder(root)
    assert listing.files("train") == [
        *("train/cat/0.png", "train/cat/without_suffix", "train/cat/linked/siamese/2.png"),
        *("train/dog/0.png", "train/dog/9.png"),
    ]
    assert listing.ignored == ("train/cat/notes.txt",)
    assert "ignored: train/cat/notes.txt" in listing.describe()


def test_images_of_a_contest_without_labels_are_no_test_split(tmp_path: Path) -> None:
    class_folders(tmp_path, parts={"train": 2})
    paint(tmp_path / "test/1.png", "red")
    listing = list_folder(tmp_path)
    assert list(listing.rows) == ["train"]
    assert listing.ignored == ("test: 1 images without class folders",)


def link_to_itself(root: Path) -> None:
    (root / "cat/5.png").symlink_to("5.png")


def class_that_links_to_itself(root: Path) -> None:
    (root / "mouse").symlink_to("mouse")


def loop(root: Path) -> None:
    (root / "cat/again").symlink_to(root)


def loose(root: Path) -> None:
    paint(root / "1.png", "red")


def empty(root: Path) -> None:
    (root / "documents").mkdir()


def mixed_with_train(root: Path) -> None:
    class_folders(root / "train")


def only_test(root: Path) -> None:
    class_folders(root / "test")


def like_splits(root: Path) -> None:
    paint(root / "test_images/1.png", "red")


def ours(root: Path) -> None:
    paint(root / "packed/1.png", "red")


def control_character(root: Path) -> None:
    if os.name != "posix":
        pytest.skip("Windows has no such names")
    paint(root / "cat/a\nb.png", "red")


def arrays_beside(root: Path) -> None:
    (root / "images.npz").write_bytes(b"")


WRONG = {
    link_to_itself: r"cat/5.png cannot be read \(Too many levels of symbolic links\); make it readable or leave it out",
    class_that_links_to_itself: r"mouse cannot be read \(Too many levels of symbolic links\)",
    loop: r"cat/again/cat is a link to a folder that holds it; remove it",
    loose: r"images in class folders and others beside them \(1.png\)",
    empty: r"folders without images \(documents\) among class folders",
    mixed_with_train: r"folders of images \(cat, dog\) beside train: it is unclear",
    only_test: r"holds a folder test, but no folder train",
    like_splits: r"holds the folder test_images, which looks like a split",
    ours: r"packed holds images, but that folder is for arrays; rename it",
    control_character: r"a name with a control character \(a\\nb.png\); rename it",
    arrays_beside: r"holds folders of images and .npz files: it is unclear which to use",
}


@pytest.mark.parametrize(("spoil", "message"), WRONG.items(), ids=[spoil.__name__ for spoil in WRONG])
def test_what_is_unclear_is_refused_in_one_line(spoil: object, message: str, tmp_path: Path) -> None:
    class_folders(tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        list_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_classes_must_be_trained(tmp_path: Path) -> None:
    class_folders(tmp_path / "one", classes=("cat",))
    with pytest.raises(UserError, match="has the single class 'cat', expected at least two"):
        list_folder(tmp_path / "one")
    class_folders(tmp_path / "two", parts={"train": 1})
    paint(tmp_path / "two/test/cow/1.png", "red")
    with pytest.raises(UserError, match=r"test.cow.1\.png: the class is 'cow', which has no training images"):
        list_folder(tmp_path / "two")


def test_data_folders_and_other_things_are_no_class_folders(tiny_data: Path, tmp_path: Path) -> None:
    assert not has_class_folders(tiny_data)
    assert not has_class_folders(tmp_path / "nothing")
    (tmp_path / "text/more").mkdir(parents=True)
    (tmp_path / "text/more/a.txt").write_text("x")
    assert not has_class_folders(tmp_path)
    assert has_class_folders(class_folders(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_named_like_an_image_is_listed_and_never_opened(tmp_path: Path) -> None:
    class_folders(tmp_path, parts={"": 1})
    os.mkfifo(tmp_path / "cat/1.png")
    os.mkfifo(tmp_path / "cat/without_suffix")
    found = find_class_folders(tmp_path)
    assert [image.file for image in found.images["train"]] == ["cat/0.png", "cat/1.png", "dog/0.png"]


def test_the_description_names_few_classes_and_counts_the_hidden_ones_of_many() -> None:
    def described(number: int) -> str:
        rows = [Row(place="", file=f"{name}.png", label=str(name)) for name in range(number)]
        return make_listing({"train": rows}, where="", found="class folders").describe()

    assert described(8) == "found class folders: 8 classes (0, 1, 2, 3, 4, 5, 6, 7), 8 training images"
    assert described(9) == "found class folders: 9 classes (0, 1, 2, 3, 4 and 4 more), 9 training images"
