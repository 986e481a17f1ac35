from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_images import arrays

from cifar100.data.layouts.arrays import ArrayFile
from cifar100.errors import UserError

IMAGES, LABELS = arrays(6)

NAMES = {
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "medmnist": ("train_images", "train_labels", "test_images", "test_labels"),
    "upper case": ("X_train", "Y_train", "X_test", "Y_test"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_the_usual_names_are_known(names: tuple[str, ...], tmp_path: Path) -> None:
    contents = (IMAGES, LABELS[:, None], IMAGES[:2], LABELS[:2, None])
    np.savez_compressed(tmp_path / "x.npz", **dict(zip(names, contents, strict=True)))
    file = ArrayFile(tmp_path / "x.npz")
    assert file.counts == {"train": 6, "test": 2}
    found = list(file.images("train"))
    assert [image.label for image in found] == ["0", "1"] * 3
    np.testing.assert_array_equal([image.content for image in found], IMAGES)
    assert found[3].place == f"{tmp_path / 'x.npz'}: {names[1]}[3]"


SHAPES = {
    "channels first": (IMAGES.transpose(0, 3, 1, 2), IMAGES),
    "grey": (IMAGES[..., 0], IMAGES[..., 0]),
    "one channel": (IMAGES[..., :1], IMAGES[..., 0]),
    "alpha": (np.concatenate([IMAGES, IMAGES[..., :1]], axis=3), np.concatenate([IMAGES, IMAGES[..., :1]], axis=3)),
}


@pytest.mark.parametrize(("images", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes_of_images(images: Any, expected: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.ascontiguousarray(images), labels=LABELS)
    found = [image.content for image in ArrayFile(tmp_path / "x.npz").images("train")]
    np.testing.assert_array_equal(found, expected)


def test_labels_may_be_text_or_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", images=IMAGES[:2], labels=np.array(["dog", "cat"]))
    assert [image.label for image in ArrayFile(tmp_path / "text.npz").images("train")] == ["dog", "cat"]
    np.savez(tmp_path / "named.npz", images=IMAGES[:2], labels=LABELS[:2], class_names=np.array(["dog", "cat"]))
    assert [image.name for image in ArrayFile(tmp_path / "named.npz").images("train")] == ["dog", "cat"]


WRONG = {
    "no labels": ({"x_train": IMAGES}, "holds x_train, but no labels; expected arrays of images and labels, named"),
    "other names": ({"a": IMAGES, "b": LABELS}, "holds a, b; expected arrays of images and labels, named"),
    "floats": ({"images": IMAGES / 255, "labels": LABELS}, "images holds float64, expected uint8, 0 to 255"),
    "flat": ({"images": IMAGES.reshape(6, -1), "labels": LABELS}, r"images has the shape \(6, 3072\), expected"),
    "other number": ({"images": IMAGES, "labels": LABELS[:4]}, "images holds 6 images, but labels 4 labels"),
    "one-hot": ({"images": IMAGES, "labels": np.eye(2, dtype=int)[LABELS]}, r"labels.npy has the shape \(6, 2\)"),
    "float labels": ({"images": IMAGES, "labels": LABELS / 2}, "labels.npy holds float64, expected whole numbers"),
    "objects": ({"images": IMAGES, "labels": np.array(list("ababab"), dtype=object)}, "labels.npy holds objects"),
}


@pytest.mark.parametrize(("contents", "message"), WRONG.values(), ids=WRONG.keys())
def test_other_arrays_are_refused_in_one_line(contents: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **contents)
    with pytest.raises(UserError, match=message) as caught:
        ArrayFile(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**9, 32, 32, 3), (2, 10**6, 10**6, 3)])
def test_what_a_header_declares_is_compared_with_the_file(shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header(shape))
        archive.writestr("labels.npy", labels.getvalue())
    with pytest.raises(UserError, match=r"images declares .* but holds 0 bytes"):
        ArrayFile(tmp_path / "x.npz")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as images and labels"):
        list(ArrayFile(path).images("train"))
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read as images and labels"):
        ArrayFile(path)
