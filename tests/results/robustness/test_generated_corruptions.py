"""Generated corruptions: deterministic, and those with the paper's parameters against its formulas."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cifar100.results.robustness import generated_corruptions
from cifar100.results.robustness.corruptions import COUNTED
from cifar100.results.robustness.generated_corruptions import GeneratedCorruptions

RNG = np.random.default_rng(0)
IMAGES = np.stack([cv2.resize(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8), (32, 32)) for _ in range(6)]).transpose(
    0, 3, 1, 2
)


def corrupted(name: str, severity: int, images: NDArray[np.uint8] = IMAGES) -> NDArray[np.uint8]:
    """uint8 (N, 32, 32, 3)."""
    return np.concatenate(list(GeneratedCorruptions(images).batches(name, severity)))


def grey(value: int, count: int = 20) -> NDArray[np.uint8]:
    return np.full((count, 3, 32, 32), value, dtype=np.uint8)


def test_the_names_are_those_of_the_paper() -> None:
    source = GeneratedCorruptions(IMAGES)
    assert set(COUNTED) - set(source.names) == {"snow", "frost"}
    assert set(source.names) <= set(COUNTED)
    assert source.description == "generated with Albumentations 2.0.8; not CIFAR-100-C"
    assert not source.is_official


@pytest.mark.parametrize("name", GeneratedCorruptions.names)
def test_each_severity_changes_each_image(name: str) -> None:
    original = IMAGES.transpose(0, 2, 3, 1)
    seen = [original]
    for severity in range(1, 6):
        images = corrupted(name, severity)
        assert (images.dtype, images.shape) == (np.uint8, original.shape)
        assert (images != original).any(axis=(1, 2, 3)).all()
        if (name, severity) != ("motion_blur", 4):  # as strong as 3, with other angles
            assert not any(np.array_equal(images, other) for other in seen)
        seen.append(images)


@pytest.mark.parametrize("name", GeneratedCorruptions.names)
def test_an_image_depends_on_its_position_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = corrupted(name, 3)
    monkeypatch.setattr(generated_corruptions, "BATCH_SIZE", 4)
    assert np.array_equal(corrupted(name, 3), whole)
    assert np.array_equal(corrupted(name, 3, IMAGES[:2]), whole[:2])


def test_two_images_get_different_noise() -> None:
    first, second = corrupted("gaussian_noise", 1, grey(128, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("severity", "std"), [(1, 0.04), (3, 0.08), (5, 0.10)])
def test_gaussian_noise_has_the_papers_deviation(severity: int, std: float) -> None:
    assert corrupted("gaussian_noise", severity, grey(128)).std() == pytest.approx(
        255 * std, rel=0.05
    )  # rounded towards zero


@pytest.mark.parametrize(("severity", "amount"), [(1, 0.01), (5, 0.07)])
def test_impulse_noise_has_the_papers_amount(severity: int, amount: float) -> None:
    images = corrupted("impulse_noise", severity, grey(128, 100))
    for value in (0, 255):
        assert (images == value).mean() == pytest.approx(amount / 2, rel=0.2)


@pytest.mark.parametrize(("severity", "added"), [(1, 0.05), (5, 0.3)])
def test_brightness_is_added_to_the_value(severity: int, added: float) -> None:
    assert corrupted("brightness", severity, grey(100)).mean() == pytest.approx(100 + 255 * added, abs=1)


@pytest.mark.parametrize(("severity", "factor"), [(1, 0.75), (5, 0.15)])
def test_contrast_is_scaled_around_the_mean(severity: int, factor: float) -> None:
    images = np.repeat(IMAGES[:, :1], 3, axis=1)  # grey: one mean for all channels
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    expected = ((images - mean) * factor + mean).transpose(0, 2, 3, 1)
    assert np.abs(corrupted("contrast", severity, images) - expected).max() <= 1.5


@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (5, 40)])
def test_jpeg_has_the_papers_quality(severity: int, quality: int) -> None:
    for found, image in zip(corrupted("jpeg_compression", severity), IMAGES, strict=True):
        upright = np.ascontiguousarray(image.transpose(1, 2, 0))
        _, encoded = cv2.imencode(".jpg", upright, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert np.array_equal(found, cv2.imdecode(encoded, cv2.IMREAD_COLOR))


@pytest.mark.parametrize(("severity", "weights"), [(4, (0.2, 0.2, 0.0)), (5, (1 / 9, 1 / 9, 1 / 9))])
def test_defocus_is_a_disc(severity: int, weights: tuple[float, float, float]) -> None:
    dot = grey(0, 1)
    dot[:, :, 16, 16] = 255
    image = corrupted("defocus_blur", severity, dot)[0, ..., 0]
    for found, weight in zip((image[16, 16], image[16, 17], image[17, 17]), weights, strict=True):
        assert found == pytest.approx(255 * weight, abs=1)


@pytest.mark.parametrize(("severity", "side"), [(1, 30), (5, 20)])
def test_pixelate_has_the_papers_sides(severity: int, side: int) -> None:
    for image in corrupted("pixelate", severity):
        assert len(np.unique(image, axis=0)) == len(np.unique(image, axis=1)[0]) == side
