import pickle

import numpy as np
import pytest
import torch
from custom_folder import make_custom
from PIL import Image
from small_folder import make_folder

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.single_image import build_transform
from cifar100.data.folder.custom_images import prepare_custom
from cifar100.data.folder.image_files import read_image
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.dataset import CsvImageDataset, PreparedImageDataset
from cifar100.errors import UserError

MISSION = AugmentationConfig(crop_padding=4, shift=0.0625, scale=0.1, rotate=45, cutout=16)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path)
    return DataFolder(tmp_path)


def make(folder, augmentation=None, **settings):
    transform = None if augmentation is None else build_transform(augmentation)
    return CsvImageDataset(folder.csv("train"), folder.images, transform=transform, **settings)


def test_images_and_labels_are_those_of_the_packed_arrays(folder):
    images, labels = folder.load("train")
    dataset = make(folder)
    assert len(dataset) == 60
    for index in range(60):
        image, label = dataset[index]
        assert torch.equal(image, torch.from_numpy(images[index]))
        assert label == labels[index]


@pytest.mark.parametrize("size", [32, 48])
def test_custom_images_are_those_of_the_packed_arrays(tmp_path, size):
    prepare_custom(make_custom(tmp_path, val=4), image_size=size)
    folder = DataFolder(tmp_path, size)
    images, labels = folder.load("train")
    dataset = PreparedImageDataset(folder)
    dataset = pickle.loads(pickle.dumps(dataset)) if size == 48 else dataset
    assert len(dataset) == 24
    for index in (0, 19, 20, 23):
        image, label = dataset[index]
        assert image.shape == (3, size, size)
        assert torch.equal(image, torch.from_numpy(images[index]))
        assert label == labels[index]
    assert len(pickle.dumps(dataset)) < 10_000  # without the images


def test_an_image_that_is_drawn_twice_is_augmented_in_two_ways(folder):
    dataset = make(folder, MISSION)
    assert not torch.equal(dataset[0, 7, 3][0], dataset[0, 7, 4][0])
    assert torch.equal(dataset[0, 7, 3][0], dataset[0, 7, 3][0])


def test_augmentation_depends_on_seed_epoch_and_index_alone(folder):
    first = make(folder, MISSION, seed=1)
    image = first[2, 7][0]
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.uint8)
    for index in range(5):  # other draws in between change nothing
        first[0, index]
    assert torch.equal(first[2, 7][0], image)
    assert torch.equal(make(folder, MISSION, seed=1)[2, 7][0], image)
    assert torch.equal(first[0, 7][0], first[7][0])
    for other in (first[3, 7], first[2, 8], make(folder, MISSION, seed=2)[2, 7]):
        assert not torch.equal(other[0], image)


def test_labels_out_of_range_are_refused(folder):
    with pytest.raises(UserError, match="fine_label is 4, expected 0 to 3"):
        make(folder, num_classes=4)


def test_the_pixels_are_those_that_preparation_and_predict_read(folder):
    """All of them call `read_image`; tests/data/folder/test_image_files.py compares it with Pillow."""
    path = folder.images / "train_images" / "000.png"
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (60, 120, 4), dtype=np.uint8), "RGBA").save(path)
    assert torch.equal(make(folder)[0][0], torch.from_numpy(read_image(path)).permute(2, 0, 1))


@pytest.mark.parametrize("keep", [0, 5, 40, 1000])
def test_damaged_image_is_named(folder, keep, capfd):
    path = folder.images / "train_images" / "000.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=rf"000\.png is damaged or not an image \({keep:,} bytes\)"):
        make(folder)[0]


def test_altered_image_is_named(folder):
    path = folder.images / "train_images" / "000.png"
    content = bytearray(path.read_bytes())
    content[1500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"000\.png is damaged or not an image"):
        make(folder)[0]
