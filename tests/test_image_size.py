"""Images of other sizes than 32x32, from preparation to the exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from custom_folder import write_csv
from PIL import Image, ImageOps

from cifar100 import commands
from cifar100.config import Config
from cifar100.data.folder import custom_images
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.data.prepare import ensure_prepared
from cifar100.errors import UserError
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config
from cifar100.training.experiment import assemble, make_split

SIZES = ((90, 60), (48, 48), (40, 130))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """24 training and 6 test images of two classes, of three sizes."""
    root = tmp_path / "photographs"
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        files = [f"{split}/{index}.png" for index in range(count)]
        (root / split).mkdir(parents=True)
        for index, file in enumerate(files):
            height, width = SIZES[index % 3]
            pixels = generator.integers(0, 128, (height, width, 3)) + np.array([100 * (index % 2), 0, 50])
            Image.fromarray(pixels.astype(np.uint8)).save(root / file)
        write_csv(root / f"{split}.csv", files, [index % 2 for index in range(count)])
    return root


def settings(root: Path, **changes: Any) -> Config:
    given = {
        "data.root": root,
        "data.image_size": 48,
        "data.batch_size": 8,
        "data.validation_fraction": 0.25,
        "model.widths": [8, 8, 8],
        "training.max_epochs": 1,
        "training.accelerator": "cpu",
    }
    return load_config("quickstart", overrides={**given, **changes})


def fitted(file: Path, side: int) -> np.ndarray[Any, Any]:
    image = ImageOps.fit(Image.open(file), (side, side), method=Image.Resampling.BICUBIC)
    return np.array(image).transpose(2, 0, 1)


def test_images_are_scaled_once_from_their_files_as_pillow_does(photographs: Path) -> None:
    for size in (48, 16, 32):
        info = commands.prepare(root=photographs, image_size=size)
        assert info.image_size == size
        images, _ = DataFolder(photographs, size).load("train")
        for index, image in enumerate(images):
            assert np.array_equal(image, fitted(photographs / f"train/{index}.png", size))
        np.testing.assert_allclose(info.mean, images.mean(axis=(0, 2, 3)) / 255)


def test_sizes_are_prepared_beside_each_other_and_noticed_when_files_change(photographs: Path) -> None:
    first = ensure_prepared("download", photographs, image_size=48)
    ensure_prepared("download", photographs)
    stamp = DataFolder(photographs, 48).packed_images("train").stat().st_mtime_ns
    assert ensure_prepared("download", photographs, image_size=48) == first
    assert DataFolder(photographs, 48).packed_images("train").stat().st_mtime_ns == stamp
    Image.new("RGB", (50, 50), "green").save(photographs / "train/0.png")
    again = ensure_prepared("download", photographs, image_size=48)
    assert again.sha256["train"] != first.sha256["train"]
    assert again.sha256["test"] == first.sha256["test"]


def test_a_damaged_image_leaves_nothing_behind(photographs: Path) -> None:
    (photographs / "train/7.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"train.csv line 9: .*7\.png is damaged"):
        commands.prepare(root=photographs, image_size=64)
    assert not (photographs / "packed").exists()


def test_too_small_a_disk_is_refused_before_images_are_read(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = custom_images.shutil.disk_usage(photographs)
    monkeypatch.setattr(custom_images.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"30 images of 256x256 pixels take 5\.9 MB in .*256, but its disk has 0\.0 MB"):
        commands.prepare(root=photographs, image_size=256)


@pytest.mark.parametrize("size", [0, 20, 264, "large"])
def test_other_sizes_are_refused(size: Any, photographs: Path) -> None:
    with pytest.raises(UserError, match=r"--image-size is .*, but it must be a"):
        commands.prepare(root=photographs, image_size=size)
    with pytest.raises(UserError, match=r"--data\.image_size is .*, but it must be a"):
        settings(photographs, **{"data.image_size": size})


def test_a_release_is_stored_with_its_own_pixels(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"Shapes-100 is stored with its own 32x32 pixels; .*train with --data\.image_size"
    ):
        commands.prepare("generated", tmp_path / "new", image_size=64)
    assert not (tmp_path / "new").exists()


def unchanged(root: Path, pipeline: str, **changes: Any) -> Config:
    augmentation = {"augmentation.crop_padding": 0, "augmentation.flip": "none", "augmentation.shift": 0}
    workers = {"data.num_workers": 0} if pipeline == "images" else {}
    return settings(root, **{"data.pipeline": pipeline, **augmentation, **workers, **changes})


@pytest.mark.parametrize("sampler", ["shuffled", "balanced"])
@pytest.mark.parametrize("enlarged", [False, True])
def test_both_pipelines_give_the_same_images(enlarged: bool, sampler: str, photographs: Path, tiny_data: Path) -> None:
    root, size = (tiny_data, 64) if enlarged else (photographs, 48)
    seen = []
    for pipeline in ("packed", "images"):
        config = unchanged(root, pipeline, **{"data.image_size": size, "data.sampler": sampler})
        info = ensure_prepared("generated" if enlarged else "download", root, image_size=size)
        data = CifarDataModule(config, info, make_split(config))
        loader = data.train_dataloader()
        loader.sampler.set_epoch(1)
        seen.append([data.on_after_batch_transfer(batch, 0) for batch in loader])
    assert len(seen[0]) == len(seen[1]) > 1
    for (images, labels), (others, same) in zip(*seen, strict=True):
        assert images.shape[1:] == (3, size, size)
        assert torch.equal(labels, same)
        torch.testing.assert_close(images, others)


def test_a_run_is_evaluated_predicted_exported_and_reported_at_its_size(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = commands.train(settings(photographs), experiment="large")
    assert "pixels   48x48; 0.2 MB in the memory of cpu" in run.training_log.read_text()
    assert "Input size (MB): 0.03" in run.model_info.read_text()  # 3 x 48 x 48 float32
    assert "[1, 24, 47, 47]" in run.model_info.read_text()
    trained = load_trained(run, "best")
    assert trained.info.image_size == 48
    ensure_prepared("download", photographs)  # another size in the same folder changes nothing
    evaluation = commands.evaluate("large")
    files = [photographs / f"test/{index}.png" for index in range(6)]
    images = np.stack([fitted(file, 48) for file in files])
    probabilities = trained(images)
    assert evaluation.metrics["accuracy"].value == (probabilities.argmax(1) == np.arange(6) % 2).mean()
    exported = commands.export("large")
    assert exported.largest_difference < 1e-5
    assert "(48x48)" in exported.compared_on
    for source in ("large", exported.path):
        for prediction, expected in zip(commands.predict(source, files), probabilities, strict=True):
            by_name = {found.name: found.probability for found in prediction.classes}
            assert [by_name["red"], by_name["blue"]] == pytest.approx(expected.tolist(), abs=1e-4)
    assert (
        commands.evaluate(exported.path, data_root=photographs).metrics["accuracy"].value
        == evaluation.metrics["accuracy"].value
    )
    assert commands.report("large").is_file()


def test_an_enlarged_run_takes_images_as_they_are_stored(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = settings(tiny_data, **{"data.source": "generated", "data.batch_size": 100})
    run = commands.train(config, experiment="enlarged")
    assert "pixels   32x32, scaled to 48x48 in each batch; 1.8 MB in the memory" in run.training_log.read_text()
    trained = load_trained(run, "best")
    assert trained.info.image_size == 32
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    assert trained.normalized(images).shape == (2, 3, 48, 48)
    assert commands.export("enlarged").largest_difference < 1e-5
    learner = settings(
        tiny_data, **{"data.source": "generated", "data.image_size": 32, "optimization.teacher": "enlarged"}
    )
    student = assemble(learner, trained.info, make_split(learner))
    seen = load_trained(run, "best").logits(images)
    small = torch.stack([(images[i].float() / 255 - torch.tensor(trained.info.mean).view(3, 1, 1)) for i in range(2)])
    small /= torch.tensor(trained.info.std).view(3, 1, 1)
    torch.testing.assert_close(student.module.teacher.logits(small), seen.clone(), rtol=1e-3, atol=1e-3)


def test_a_teacher_of_other_pixels_is_refused(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.train(settings(photographs), experiment="large")
    learner = settings(photographs, **{"data.image_size": 32, "optimization.teacher": "large"})
    with pytest.raises(UserError, match=r"images of 48x48 pixels, but the images of this run have 32x32"):
        commands.train(learner)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimization.class_weights": "balanced"},
        {"data.sampler": "balanced"},
        {"optimization.class_weights": "balanced", "augmentation.cutmix_probability": 1},
        {"optimization.class_weights": "balanced", "optimization.sam": "sam"},
        {"data.sampler": "balanced", "data.pipeline": "images", "data.num_workers": 0},
    ],
)
def test_unequal_classes_train(
    changes: dict[str, Any], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = [0] * 20 + [1] * 4
    write_csv(photographs / "train.csv", [f"train/{index}.png" for index in range(24)], labels)
    run = commands.train(settings(photographs, **changes), experiment="unequal")
    stated = "weights  0.6 (red) to 3 (blue)" in run.training_log.read_text()  # of 15 and 3 images
    assert stated == ("optimization.class_weights" in changes)


def test_both_corrections_together_are_refused(photographs: Path) -> None:
    with pytest.raises(UserError, match="together they compensate twice; use only one"):
        settings(photographs, **{"data.sampler": "balanced", "optimization.class_weights": "balanced"})
