from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from custom_folder import make_custom, write_csv
from PIL import Image

from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError

TRAIN = ("file,fine_label,fine_name", "a.png,0,cat", "b.jpg,1,dog", "c.png,0,cat")
TEST = ("file,fine_label,fine_name", "d.png,1,dog")


def make(folder: Path, *, train: tuple[str, ...] = TRAIN, test: tuple[str, ...] | None = TEST) -> Path:
    generator = np.random.default_rng(0)
    for index, name in enumerate(("a.png", "b.jpg", "c.png", "d.png")):
        pixels = generator.integers(0, 256, (32 + 8 * index, 32 + 3 * index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    for name, lines in (("train", train), ("test", test)):
        if lines is not None:
            (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder


def test_the_arrays_hold_what_read_image_returns(tmp_path: Path) -> None:
    info = prepare_custom(make(tmp_path))
    folder = DataFolder(tmp_path)
    assert folder.info() == info
    assert (info.name, info.origin, info.num_train, info.num_test) == (tmp_path.name, "custom", 3, 1)
    assert (info.class_names, info.superclass_names, info.class_to_superclass) == (("cat", "dog"), (), ())
    for split, files, expected in (("train", ("a.png", "b.jpg", "c.png"), [0, 1, 0]), ("test", ("d.png",), [1])):
        images, labels = folder.load(split)
        assert labels.tolist() == expected
        for file, image in zip(files, images, strict=True):
            np.testing.assert_array_equal(image.transpose(1, 2, 0), read_image(tmp_path / file))
    pixels = folder.load("train")[0] / 255
    np.testing.assert_allclose(info.mean, pixels.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(info.std, pixels.std(axis=(0, 2, 3)))


def test_the_test_split_is_optional(tmp_path: Path) -> None:
    info = prepare_custom(make(tmp_path, test=None))
    assert info.num_test == 0
    assert list(info.sha256) == ["train"]
    with pytest.raises(UserError, match="has no test split"):
        DataFolder(tmp_path).load("test")


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    info = prepare_custom(make(tmp_path, train=("file,fine_label", "a.png,1", "b.jpg,0"), test=None))
    assert info.class_names == ("0", "1")


def test_superclasses_are_read(tmp_path: Path) -> None:
    lines = ("file,fine_label,superclass_label,superclass_name", "a.png,0,1,pets", "b.jpg,1,0,fish", "c.png,2,1,pets")
    info = prepare_custom(make(tmp_path, train=lines, test=None))
    assert (info.superclass_names, info.class_to_superclass) == (("fish", "pets"), (1, 0, 1))


WRONG_TRAIN = {
    "single class": (("file,fine_label", "a.png,0"), "train.csv has the single class '0', expected at least two"),
    "two names": (
        ("file,fine_label,fine_name", "a.png,0,x", "b.jpg,1,y", "c.png,0,z"),
        "line 4: the class name is 'z', but another row with label 0 has 'x'",
    ),
    "name of two classes": (
        ("file,fine_label,fine_name", "a.png,0,x", "b.jpg,1,x"),
        "the class name 'x' of label 1 is already the name of label 0",
    ),
    "name missing": (
        ("file,fine_label,fine_name", "a.png,0,x", "b.jpg,1,"),
        "class label 1 has no name, but others have one",
    ),
    "two superclasses": (
        ("file,fine_label,superclass_label", "a.png,0,0", "b.jpg,1,1", "c.png,0,1"),
        "line 4: the superclass is 1, but another row of class 0 has 0",
    ),
    "superclass missing": (
        ("file,fine_label,superclass_label", "a.png,0,0", "b.jpg,1,"),
        "class 1 has no superclass label, but others have one",
    ),
    "superclass name alone": (
        ("file,fine_label,superclass_label,superclass_name", "a.png,0,,x", "b.jpg,1,,"),
        "line 2 has a superclass name but no superclass label",
    ),
}


@pytest.mark.parametrize(("lines", "message"), WRONG_TRAIN.values(), ids=WRONG_TRAIN.keys())
def test_inconsistent_classes_are_refused(lines: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare_custom(make(tmp_path, train=lines, test=None))
    assert "\n" not in str(caught.value)
    assert not DataFolder(tmp_path).is_prepared()


WRONG_TEST = {
    "unknown class": (
        ("file,fine_label", "d.png,2"),
        "test.csv line 2: the class is '2', which has no training images",
    ),
    "training image": (("file,fine_label", "a.png,0"), r"test.csv line 2: a.png is also a training image \(.*line 2\)"),
    "other name": (
        ("file,fine_label,fine_name", "d.png,1,cow"),
        "test.csv line 2: the class name is 'cow', but another",
    ),
}


@pytest.mark.parametrize(("lines", "message"), WRONG_TEST.values(), ids=WRONG_TEST.keys())
def test_a_test_split_that_contradicts_the_training_split_is_refused(
    lines: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        prepare_custom(make(tmp_path, test=lines))


def test_a_damaged_image_is_named_with_its_line(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"train.csv line 3: .*b\.jpg"):
        prepare_custom(tmp_path)


def test_a_failed_preparation_keeps_the_previous_one(tmp_path: Path) -> None:
    info = prepare_custom(make(tmp_path))
    (tmp_path / "train.csv").write_text("file,fine_label\na.png,0\n")
    with pytest.raises(UserError):
        prepare_custom(tmp_path)
    assert DataFolder(tmp_path).info() == info


def green_only(folder: Path, *, num_images: int = 40) -> Path:
    """Two classes of a fluorescence microscope: red and blue are 0."""
    generator = np.random.default_rng(0)
    lines = ["file,fine_label"]
    for index in range(num_images):
        pixels = np.zeros((32, 32, 3), dtype=np.uint8)
        pixels[..., 1] = generator.integers(0, 100, (32, 32)) + 150 * (index % 2)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        lines.append(f"{index}.png,{index % 2}")
    (folder / "train.csv").write_text("\n".join(lines))
    return folder


def test_a_constant_channel_is_named_and_normalised_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = prepare_custom(green_only(tmp_path))
    said = capsys.readouterr().out
    found = f"{tmp_path}: red and blue constant over all training images"
    assert f"{found}; normalised by a standard deviation of 1" in said
    assert info.std[0] == info.std[2] == 0  # measured, and also what older versions wrote
    mean, std = DataFolder(tmp_path).info().normalization
    assert std == (1.0, info.std[1], 1.0)
    assert mean == info.mean
    prepare_custom(make(tmp_path))
    assert "normalised by" not in capsys.readouterr().out


def test_an_almost_constant_channel_is_not_said_to_be_constant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    green_only(tmp_path)
    pixels = np.array(Image.open(tmp_path / "0.png"))
    pixels[0, 0, 2] = 1
    Image.fromarray(pixels).save(tmp_path / "0.png")
    info = prepare_custom(tmp_path)
    said = capsys.readouterr().out
    assert f"{tmp_path}: red constant over all training images; normalised" in said
    assert f"{tmp_path}: blue almost constant over all training images; normalised by a standard deviation of 1" in said
    assert info.normalization[1][2] == 1


def test_images_of_one_colour_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32), (9, 8, 7)).save(tmp_path / name)
    (tmp_path / "train.csv").write_text("file,fine_label\na.png,0\nb.png,1\n")
    with pytest.raises(UserError, match="all training images have the same single colour, so nothing can be"):
        prepare_custom(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "train.csv"]


def test_a_folder_in_the_place_of_an_array_is_named(tmp_path: Path) -> None:
    array = tmp_path / "packed/train_images.npy"
    array.mkdir(parents=True)
    place = re.escape(str(array))
    with pytest.raises(UserError, match=rf"^{place} cannot be written .*; move away what is in its place"):
        prepare_custom(make(tmp_path))


# ---------------------------------------------------------------- val.csv


@pytest.mark.parametrize("name", ["val.csv", "valid.csv", "validation.csv"])
def test_validation_images_follow_the_training_images(name: str, tmp_path: Path) -> None:
    make_custom(tmp_path, val=4)
    (tmp_path / "val.csv").rename(tmp_path / name)
    info = prepare_custom(tmp_path)
    assert (info.num_train, info.num_validation, info.num_test) == (24, 4, 6)
    images, labels = DataFolder(tmp_path).load("train")
    assert labels[20:].tolist() == [0, 1, 0, 1]
    for index in range(4):
        image = read_image(tmp_path / f"val_images/{index:02d}.png")
        np.testing.assert_array_equal(images[20 + index].transpose(1, 2, 0), image)
    np.testing.assert_allclose(info.mean, (images[:20] / 255).mean(axis=(0, 2, 3)))


def test_a_validation_image_that_is_also_used_elsewhere_is_refused(tmp_path: Path) -> None:
    make_custom(tmp_path, val=4)
    write_csv(tmp_path / "val.csv", ["train_images/03.png"], [1])
    with pytest.raises(UserError, match=r"val.csv line 2: .* is also a training image .*bias the validation"):
        prepare_custom(tmp_path)
    write_csv(tmp_path / "val.csv", ["test_images/03.png"], [1])
    with pytest.raises(UserError, match=r"test.csv line 5: .* is also a validation image .*bias the test"):
        prepare_custom(tmp_path)


def test_two_validation_files_are_refused(tmp_path: Path) -> None:
    make_custom(tmp_path, val=4)
    shutil.copy(tmp_path / "val.csv", tmp_path / "validation.csv")
    with pytest.raises(UserError, match=r"holds val.csv and validation.csv; keep one"):
        prepare_custom(tmp_path)
