"""Pure functions on batches of images, on any device and without waiting for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normalize(images: Tensor, mean: Tensor, std: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scale pixels to 0..1, subtract the channel's mean and divide by its standard deviation.

    images: uint8 (N, 3, H, W), or floating point with levels of 0..255. mean, std: float32 (3,), of pixels in 0..1, on
    the images' device.
    """
    normalized = images.float().sub_(mean.view(3, 1, 1) * 255).div_(std.view(3, 1, 1) * 255)
    return normalized.to(dtype)


def network_input(
    images: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    side: int | None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return what a network gets: images of side x side pixels, normalised, float32 (N, 3, side, side).

    images: uint8 (N, 3, H, W). mean, std: as for `normalize`. side: None keeps the size of the images.
    """
    if side is not None and images.shape[2:] != (side, side):
        images = fit(images, side, rounded=False)
    return normalize(images, mean, std).contiguous(memory_format=memory_format)


def fit(images: Tensor, side: int, *, rounded: bool = True) -> Tensor:
    """Scale the shorter side to `side` pixels and crop the centre, as Pillow's `ImageOps.fit` with BICUBIC does.

    Each pass is a product with a matrix of filter weights, whose result is limited to 0..255. No operator for resizing
    is needed: their filters differ between runtimes, and not every device has the antialiased ones. Images of the size
    are not changed.

    Args:
        images: uint8 (N, 3, H, W), or floating point with levels of 0..255.
        side: in pixels.
        rounded: round to whole levels after each pass, as Pillow does. Without it, rounding errors of the sums, which
            differ between devices, stay as small as they are.

    Returns levels of 0..255, float32 (N, 3, side, side).
    """
    limited = _rounded if rounded else _clamped
    rows, columns = (torch.arange(images.shape[axis], dtype=torch.float32, device=images.device) for axis in (2, 3))
    height, width = rows[-1] + 1, columns[-1] + 1  # as tensors: the size is an input of an exported graph
    shorter = torch.minimum(height, width)
    across = _weights(columns, (width - shorter) / 2, shorter, side)
    down = _weights(rows, (height - shorter) / 2, shorter, side)
    return limited(down @ limited(images.float() @ across.T))


def _weights(positions: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Return the weight of each input pixel in each output pixel, (side, positions).

    The input is the interval from `start` to `start + length`. If it is scaled down, the filter is as much wider.
    """
    scale = length / side
    centres = start + (torch.arange(side, dtype=torch.float32, device=positions.device) + 0.5) * scale
    weights = _bicubic((positions + 0.5 - centres[:, None]) / scale.clamp(min=1))
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic(distance: Tensor) -> Tensor:
    """Return the cubic convolution kernel with a = -1/2 (Keys, 1981), which Pillow uses."""
    x, a = distance.abs(), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _rounded(levels: Tensor) -> Tensor:
    return _clamped((levels + 0.5).floor())


def _clamped(levels: Tensor) -> Tensor:
    return levels.clamp(0, 255)


def resize(images: Tensor, side: int) -> Tensor:
    """Scale to side x side pixels with an antialiased triangle filter, like Pillow's BILINEAR.

    images: floating point (N, 3, H, W).
    """
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def inside_boxes(images: Tensor, boxes: Tensor) -> Tensor:
    """Return which pixels lie in the box of their image, bool (N, 1, H, W).

    boxes: int64 (N, 4): first row, first column, height, width; may reach beyond the image.
    """
    top, left, height, width = to_device(boxes, images.device).unbind(1)
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    in_rows = ((rows >= top[:, None]) & (rows < (top + height)[:, None])).view(torch.uint8)
    in_columns = ((columns >= left[:, None]) & (columns < (left + width)[:, None])).view(torch.uint8)
    # A product of bytes, because torch does not vectorise `and` on a CPU.
    return (in_rows[:, :, None] * in_columns[:, None, :]).unsqueeze(1).view(torch.bool)


def replace_images(images: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """Return images with those at `rows`, int64 (n,), replaced by `new`; all uint8.

    Moves eight pixels at a time if the width allows it, which is two to five times as fast on a CPU.
    """
    if images.shape[3] % 8 == 0 and images.is_contiguous() and new.is_contiguous():
        return images.view(torch.int64).index_copy(0, rows, new.view(torch.int64)).view(torch.uint8)
    return images.index_copy(0, rows, new)


def to_device(parameters: Tensor, device: torch.device) -> Tensor:
    """Move random parameters from the CPU to the images' device without waiting for the device."""
    if device.type == "cuda" and parameters.device.type == "cpu":
        return parameters.pin_memory().to(device, non_blocking=True)
    return parameters.to(device)
