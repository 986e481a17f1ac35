"""Corrupt images with Albumentations, for machines without CIFAR-100-C. The figures are not those of CIFAR-100-C.

The parameters are those of the paper's program for CIFAR (`make_cifar_c.py`) if the transform has them. Otherwise the
root-mean-square change of test images is near that of the program; measured on the first 400 images of CIFAR-100.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np

from cifar100.data.augmentation.single_image import A, cv2
from cifar100.data.loading.dataset import augment_image
from cifar100.data.sampler import place_generator
from cifar100.results.robustness.corruptions import BATCH_SIZE, COUNTED, Images

SEED = 0

Values = tuple[float, float, float, float, float]
"""A parameter for each severity, 1 to 5."""


def _each(make: Callable[[float], A.BasicTransform], values: Values) -> list[list[A.BasicTransform]]:
    return [[make(value)] for value in values]


def _gaussian_noise() -> list[list[A.BasicTransform]]:
    return _each(lambda std: A.GaussNoise(std_range=(std, std), p=1), (0.04, 0.06, 0.08, 0.09, 0.10))


def _shot_noise() -> list[list[A.BasicTransform]]:
    # On linear light, unlike the paper's, so the parameters are by effect.
    return _each(lambda scale: A.ShotNoise(scale_range=(scale, scale), p=1), (0.0035, 0.0065, 0.015, 0.02, 0.028))


def _impulse_noise() -> list[list[A.BasicTransform]]:
    # All channels of a pixel; the paper's noise changes each by itself.
    def make(amount: float) -> A.BasicTransform:
        return A.SaltAndPepper(amount=(amount, amount), salt_vs_pepper=(0.5, 0.5), p=1)

    return _each(make, (0.01, 0.02, 0.03, 0.05, 0.07))


def _defocus_blur() -> list[list[A.BasicTransform]]:
    # A disc of a radius below 1 is one pixel, so that only the smoothing of its edge remains. That of 1.5 is 3 x 3.
    def smoothed(sigma: float) -> list[A.BasicTransform]:
        return [A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(sigma, sigma), p=1)]

    disc, square = A.Defocus(radius=(1, 1), alias_blur=(0.2, 0.2), p=1), A.Blur(blur_limit=(3, 3), p=1)
    return [smoothed(0.4), smoothed(0.5), smoothed(0.6), [disc], [square]]


def _glass_blur() -> list[list[A.BasicTransform]]:
    parameters = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))
    return [
        [A.GlassBlur(sigma=sigma, max_delta=1, iterations=iterations, mode="exact", p=1)]
        for sigma, iterations in parameters
    ]


def _motion_blur() -> list[list[A.BasicTransform]]:
    # A line of equal weights; the paper's fade out. By effect. The angles are those of -45 to 45 degrees.
    def make(length: float) -> A.BasicTransform:
        size = (int(length), int(length))
        return A.MotionBlur(blur_limit=size, angle_range=(135, 225), direction_range=(0, 0), allow_shifted=False, p=1)

    return _each(make, (3, 5, 7, 7, 9))


def _zoom_blur() -> list[list[A.BasicTransform]]:
    def make(end: float) -> A.BasicTransform:
        return A.ZoomBlur(max_factor=(end, end), step_factor=(0.01, 0.01), p=1)

    return _each(make, (1.06, 1.11, 1.16, 1.21, 1.26))


def _fog() -> list[list[A.BasicTransform]]:
    # White discs and a slight blur instead of a fractal; by effect.
    return _each(
        lambda alpha: A.RandomFog(fog_coef_range=(1, 1), alpha_coef=alpha, p=1), (0.01, 0.043, 0.06, 0.077, 0.1)
    )


def _brightness() -> list[list[A.BasicTransform]]:
    def make(added: float) -> A.BasicTransform:
        value = (255 * added, 255 * added)
        return A.HueSaturationValue(hue_shift_limit=(0, 0), sat_shift_limit=(0, 0), val_shift_limit=value, p=1)

    return _each(make, (0.05, 0.1, 0.15, 0.2, 0.3))


def _contrast() -> list[list[A.BasicTransform]]:
    # Around the mean grey; the paper's around the mean of each channel.
    def make(factor: float) -> A.BasicTransform:
        same = (1, 1)
        return A.ColorJitter(brightness=same, contrast=(factor, factor), saturation=same, hue=(0, 0), p=1)

    return _each(make, (0.75, 0.5, 0.4, 0.3, 0.15))


def _elastic_transform() -> list[list[A.BasicTransform]]:
    # The paper moves three points at random by up to `shift` pixels, which are 20 pixels apart. Scale, shear and
    # translation have the same standard deviations here. Its smallest sigma is 0.96; Albumentations admits 1.
    def make(shift: float, alpha: float, sigma: float) -> list[A.BasicTransform]:
        slope, degrees, move = 0.07 * shift, 4.0 * shift, 0.022 * shift
        both = {"x": (-degrees, degrees), "y": (-degrees, degrees)}
        moves = {"x": (-move, move), "y": (-move, move)}
        edge = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1}
        affine = A.Affine(
            scale=(1 - slope, 1 + slope), keep_ratio=False, shear=both, rotate=0, translate_percent=moves, **edge
        )
        if alpha == 0:
            return [affine]
        return [affine, A.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", **edge)]

    parameters = ((2.56, 0, 0), (2.24, 1.6, 6.4), (1.92, 2.56, 1.92), (1.6, 3.2, 1.28), (0.96, 3.2, 1))
    return [make(*values) for values in parameters]


def _pixelate() -> list[list[A.BasicTransform]]:
    # Areas are averaged; the paper's filter averages whole pixels. The sides are the paper's.
    filters = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_NEAREST_EXACT}

    def make(side: float) -> A.BasicTransform:
        return A.Downscale(scale_range=(side / 32, side / 32), interpolation_pair=filters, p=1)

    return _each(make, (30, 28, 27, 24, 20))


def _jpeg_compression() -> list[list[A.BasicTransform]]:
    # Albumentations 2.0.8 takes red for blue when it compresses, so that red keeps less detail than in the paper.
    return _each(
        lambda quality: A.ImageCompression(quality_range=(int(quality), int(quality)), p=1), (80, 65, 58, 50, 40)
    )


_MAKERS: dict[str, Callable[[], list[list[A.BasicTransform]]]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
"""Each returns the transforms of severity 1 to 5. `frost` needs photographs of frost. For `snow` Albumentations 2.0.8
turns the hue of the image or whitens its dark pixels, neither of which resembles snow."""


class GeneratedCorruptions:
    """Corruptions of images, uint8 (N, 3, S, S), that are a function of the image and its position.

    Widths in pixels, such as those of a blur, are those for 32x32 pixels, whatever S is.
    """

    is_official = False
    names = tuple(_MAKERS)

    def __init__(self, images: Images) -> None:
        self._images = images
        self.description = f"generated with Albumentations {A.__version__}; not CIFAR-100-C"

    def batches(self, name: str, severity: int) -> Iterator[Images]:
        """See `CorruptedImages`."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Albumentations would only warn of an argument that it does not know
            transform = A.Compose(_MAKERS[name]()[severity - 1])
        place = (COUNTED.index(name), severity)
        for start in range(0, len(self._images), BATCH_SIZE):
            images = self._images[start : start + BATCH_SIZE].transpose(0, 2, 3, 1)
            yield np.stack(
                [
                    augment_image(np.ascontiguousarray(image), transform, place_generator(SEED, *place, index))
                    for index, image in enumerate(images, start)
                ]
            )
