"""The operations of AutoAugment and its successors on whole batches, in Pillow's integer formulas.

Images are uint8 (N, 3, H, W). They are grouped by kind of operation, so that a round is a handful of passes: warps take
pixels from elsewhere, tables map levels to levels, blends mix with another picture of the same image.

Each operation takes one value for each image. Shear: pixels aside for each pixel down or across. Translation: pixels to
the left or up. Rotation: degrees, counter-clockwise. Brightness, color, contrast, sharpness: 0 removes it, 1 changes
nothing. Posterize: bits kept. Solarize: the level from which to invert. The other operations ignore it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cifar100.data.image_batches import replace_images, to_device

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)
FILL = 128
"""Level of pixels from outside the image, as in AutoAugment's own code."""

Operation = Callable[[Tensor, Tensor], Tensor]


def apply_operations(images: Tensor, operations: Tensor, values: Tensor) -> Tensor:
    """Apply one operation to each image. The argument is not changed.

    operations: int64 (N,), positions in `OPERATIONS`. values: float32 (N,). Both on the CPU.
    """
    for names, change in ((tuple(WARPS), _warp), (tuple(TABLES), _map_levels), (tuple(BLENDS), _blend_all)):
        kinds = torch.tensor([OPERATIONS.index(name) for name in names])
        chosen = torch.isin(operations, kinds).nonzero().squeeze(1)
        if len(chosen) == 0:
            continue
        chosen = chosen[operations[chosen].argsort(stable=True)]  # images with the same operation lie together
        rows = to_device(chosen, images.device)
        changed = change(images.index_select(0, rows), operations[chosen], values[chosen])
        images = replace_images(images, rows, changed)
    return images


def _by_operation(images: Tensor, operations: Tensor, values: Tensor, known: dict[str, Operation]) -> Tensor:
    """Apply each operation of `known` to its images, which lie together. values: on the CPU."""
    counts = torch.bincount(operations, minlength=len(OPERATIONS)).tolist()
    on_device = to_device(values, images.device)
    parts = zip(torch.split(images, counts), torch.split(on_device, counts), OPERATIONS, strict=True)
    return torch.cat([known[name](part, part_values) for part, part_values, name in parts if len(part)])


# Warps: the source of each pixel of the result. Values (n,), on the CPU; the side of the images. Each returns (n, 6):
# a, b, c, d, e, f of x' = a x + b y + c, y' = d x + e y + f; the centre of the first pixel is (0.5, 0.5).


def _shear_x(values: Tensor, side: int) -> Tensor:
    return _matrices(values, b=values)


def _shear_y(values: Tensor, side: int) -> Tensor:
    return _matrices(values, d=values)


def _translate_x(values: Tensor, side: int) -> Tensor:
    return _matrices(values, c=values)


def _translate_y(values: Tensor, side: int) -> Tensor:
    return _matrices(values, f=values)


def _rotate(values: Tensor, side: int) -> Tensor:
    centre = side / 2
    radians = torch.deg2rad(values)
    cos, sin = torch.cos(radians), torch.sin(radians)
    rest = centre - cos * centre
    return _matrices(values, a=cos, b=-sin, c=rest + sin * centre, d=sin, e=cos, f=rest - sin * centre)


def _matrices(values: Tensor, **changed: Tensor) -> Tensor:
    one, zero = torch.ones_like(values), torch.zeros_like(values)
    entries = {"a": one, "b": zero, "c": zero, "d": zero, "e": one, "f": zero} | changed
    return torch.stack(list(entries.values()), dim=1)


WARPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}


def _warp(images: Tensor, operations: Tensor, values: Tensor) -> Tensor:
    """Take the nearest pixel, Pillow's default, in one pass for all kinds of warps."""
    height, width = images.shape[2:]
    counts = torch.bincount(operations, minlength=len(OPERATIONS)).tolist()
    parts = zip(torch.split(values.double(), counts), OPERATIONS, strict=True)
    matrices = torch.cat([WARPS[name](part, width) for part, name in parts if len(part)])
    # At the centre of the first pixel and in 65536ths of a pixel, as in Pillow: the same pixels on every device.
    matrices[:, 2::3] += (matrices[:, 0::3] + matrices[:, 1::3]) / 2
    fixed = torch.floor(matrices * 65536 + 0.5).long()
    a, b, c, d, e, f = to_device(fixed, images.device)[:, :, None, None].unbind(1)
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    column = (a * x + (b * y + c)) >> 16  # (n, H, W)
    row = (d * x + (e * y + f)) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row.clamp_(0, height - 1) * width + column.clamp_(0, width - 1)
    taken = images.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, 3, -1)).view_as(images)
    return torch.where(inside[:, None], taken, FILL)


# Tables: the new level for each old one. Images uint8 (n, 3, H, W), values (n,), both on the device. Each returns
# (n, 3 or 1, 256), whole numbers in 0..255.


def _levels(like: Tensor) -> Tensor:
    return torch.arange(256, device=like.device)


def _brightness(images: Tensor, values: Tensor) -> Tensor:
    levels = _levels(images).float()
    return blend(torch.zeros_like(levels), levels, values[:, None, None])


def _contrast(images: Tensor, values: Tensor) -> Tensor:
    total = grey(images).flatten(1).sum(1)
    pixels = images[0, 0].numel()
    mean = (2 * total + pixels) // (2 * pixels)  # rounded
    return blend(mean[:, None, None].float(), _levels(images).float(), values[:, None, None])


def _posterize(images: Tensor, values: Tensor) -> Tensor:
    lost = (8 - values.long())[:, None, None]
    return _levels(images) >> lost << lost


def _solarize(images: Tensor, values: Tensor) -> Tensor:
    levels = _levels(images)
    return torch.where(levels < values[:, None, None], levels, 255 - levels)


def _invert(images: Tensor, values: Tensor) -> Tensor:
    return (255 - _levels(images)).expand(len(images), 1, 256)


def _autocontrast(images: Tensor, values: Tensor) -> Tensor:
    """Stretch each channel's darkest and brightest level to 0 and 255."""
    levels = _levels(images)
    darkest = images.flatten(2).amin(2, keepdim=True).long()
    span = images.flatten(2).amax(2, keepdim=True).long() - darkest
    stretched = ((levels - darkest).clamp_(min=0) * 255 // span.clamp(min=1)).clamp_(max=255)
    return torch.where(span > 0, stretched, levels)


def _equalize(images: Tensor, values: Tensor) -> Tensor:
    """Make each channel's histogram as even as a table can, in Pillow's integer formula."""
    levels = _levels(images)
    ordered = images.flatten(2).sort(dim=2).values.long()
    # Pixels darker than each level; searched in order, because a histogram is not deterministic on CUDA.
    darker = torch.searchsorted(ordered, levels.expand(*ordered.shape[:2], 256).contiguous())
    step = torch.searchsorted(ordered, ordered[:, :, -1:].contiguous()) // 255
    equalized = ((step // 2 + darker) // step.clamp(min=1)).clamp_(max=255)
    return torch.where(step > 0, equalized, levels)


TABLES: dict[str, Operation] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
}


def _map_levels(images: Tensor, operations: Tensor, values: Tensor) -> Tensor:
    def table(make: Operation) -> Operation:
        return lambda part, part_values: make(part, part_values).to(torch.uint8).expand(len(part), 3, 256)

    tables = _by_operation(images, operations, values, {name: table(make) for name, make in TABLES.items()})
    return tables.gather(2, images.flatten(2).long()).view_as(images)


# Blends with another picture of the same image. Images (n, 3, H, W), values (n,), both on the device.


def blend(one: Tensor, other: Tensor, amount: Tensor) -> Tensor:
    """Interpolate or extrapolate from one picture to the other; truncate to whole levels, as Pillow does. Floats."""
    return (one + amount * (other - one)).clamp(0, 255).trunc()


def grey(images: Tensor) -> Tensor:
    """Return the luma of ITU-R 601-2, int64 (N, 1, H, W), in Pillow's integer formula."""
    red, green, blue = images.long().unbind(1)
    luma: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma[:, None]


def _color(images: Tensor, values: Tensor) -> Tensor:
    return blend(grey(images).float(), images.float(), values[:, None, None, None])


def _sharpness(images: Tensor, values: Tensor) -> Tensor:
    return blend(_smooth(images).float(), images.float(), values[:, None, None, None])


def _smooth(images: Tensor) -> Tensor:
    """Return the mean of 3x3 pixels, the centre weighted five times, rounded; the border stays. int64 (N, 3, H, W)."""
    levels = images.long()
    height, width = levels.shape[2:]
    around = sum(levels[:, :, y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3))
    inner = (2 * (around + 4 * levels[:, :, 1:-1, 1:-1]) + 13) // 26
    levels[:, :, 1:-1, 1:-1] = inner
    return levels


BLENDS: dict[str, Operation] = {"color": _color, "sharpness": _sharpness}


def _blend_all(images: Tensor, operations: Tensor, values: Tensor) -> Tensor:
    return _by_operation(images, operations, values, BLENDS).to(torch.uint8)
