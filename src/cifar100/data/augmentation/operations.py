"""Random changes to whole batches of images, as pure functions that run on any device.

What is random comes in as an argument: `draws.py` decides it, these functions apply it, and a test can apply the same
draws to one image at a time. Images are uint8 (N, 3, H, W) from the first function to `normalize`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cifar100.data.augmentation.device_rows import replace_images, to_device
from cifar100.data.augmentation.draws import AffineDraws, Draws
from cifar100.data.augmentation.policy_operations import apply_policy


def augment_batch(images: Tensor, draws: Draws) -> Tensor:
    """Crop, flip, warp, apply a policy, punch holes and erase, in this order, as drawn.

    The policies' papers use them between flip and cutout, too.

    images: uint8 (N, 3, H, W), on any device. Returns images of the same shape, type and device; the argument is not
    changed.
    """
    if draws.crop is not None:
        images = crop(images, draws.crop, padding=draws.crop_padding)
    if draws.flip is not None:
        images = flip(images, draws.flip)
    if draws.affine is not None:
        images = affine(images, draws.affine)
    if draws.policy is not None:
        images = apply_policy(images, draws.policy)
    if draws.hole is not None:
        images = cutout(images, draws.hole, size=draws.hole_size)
    if draws.erased is not None and draws.noise is not None:
        images = random_erasing(images, draws.erased, to_device(draws.noise, images.device))
    return images


def normalize(images: Tensor, mean: Tensor, std: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scale pixels to 0..1, subtract the channel's mean and divide by its standard deviation.

    images: uint8 (N, 3, H, W). mean, std: float32 (3,), of pixels in 0..1, on the images' device.
    """
    normalized = images.float().sub_(mean.view(3, 1, 1) * 255).div_(std.view(3, 1, 1) * 255)
    return normalized.to(dtype)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen images left to right. chosen: bool (N,)."""
    rows = to_device(chosen.nonzero().squeeze(1), images.device)
    return replace_images(images, rows, images.index_select(0, rows).flip(3))


def crop(images: Tensor, corners: Tensor, *, padding: int) -> Tensor:
    """Pad each image by reflection and cut its original size out again.

    corners: int64 (N, 2), 0 .. 2 * padding: first row and first column of the cut in the padded image.
    """
    height, width = images.shape[2:]
    padded = reflect_pad(reflect_pad(images, padding, dim=3), padding, dim=2)
    # A view of all possible cuts, (N, 3, 2p + 1, 2p + 1, H, W), that holds nothing twice; one gather picks from it.
    cuts = padded.unfold(2, height, 1).unfold(3, width, 1)
    corners = to_device(corners, images.device)
    return cuts[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]


def reflect_pad(images: Tensor, padding: int, *, dim: int) -> Tensor:
    """Pad both ends of a dimension by reflection about the outermost pixels.

    `F.pad` does the same, but on CUDA and MPS not for uint8.
    """
    length = images.shape[dim]
    before = images.narrow(dim, 1, padding).flip(dim)
    after = images.narrow(dim, length - 1 - padding, padding).flip(dim)
    return torch.cat([before, images, after], dim=dim)


def affine(images: Tensor, draws: AffineDraws) -> Tensor:
    """Scale and rotate about the centre, then shift; bilinear, borders continued by reflection (reflect_101).

    Only the images that were drawn for it are touched. They are rounded to whole pixel values, as OpenCV does.
    """
    rows = to_device(draws.images, images.device)
    source = images.index_select(0, rows).float()
    grid = _affine_grid(to_device(_inverse_matrices(draws, side=images.shape[3]), images.device), images.shape[3])
    # With align_corners, -1 and 1 are the centres of the outermost pixels, so that reflection there is reflect_101.
    warped = F.grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return replace_images(images, rows, warped.add_(0.5).to(torch.uint8))


def _inverse_matrices(draws: AffineDraws, *, side: int) -> Tensor:
    """Return float32 (n, 2, 3): from a place in the result to its place in the source, both (x, y, 1) in -1..1."""
    radians = torch.deg2rad(draws.rotate_degrees)
    cos, sin = torch.cos(radians) / draws.scale, torch.sin(radians) / draws.scale
    shift_x, shift_y = (draws.shift_pixels / ((side - 1) / 2)).unbind(1)
    x = torch.stack([cos, -sin, sin * shift_y - cos * shift_x], dim=1)
    y = torch.stack([sin, cos, -sin * shift_x - cos * shift_y], dim=1)
    return torch.stack([x, y], dim=1)


def _affine_grid(matrices: Tensor, side: int) -> Tensor:
    """Return float32 (n, side, side, 2), as `F.affine_grid(..., align_corners=True)` does, several times as quickly.

    Without its matrix product, the bits of an image do not depend on which others are in the batch.
    """
    axis = torch.linspace(-1, 1, side, device=matrices.device)
    along_x, along_y, constant = matrices[..., None].unbind(2)  # (n, 2, 1) each
    from_column = along_x * axis + constant
    from_row = along_y * axis
    grid = from_row[..., :, None] + from_column[..., None, :]  # (n, 2, side, side)
    return grid.permute(0, 2, 3, 1)


def cutout(images: Tensor, corners: Tensor, *, size: int) -> Tensor:
    """Fill a square of each image with black (DeVries and Taylor, 2017; here always wholly inside the image).

    corners: int64 (N, 2): first row and first column of the square; a corner beyond the image leaves it as it is.
    """
    boxes = torch.cat([corners, torch.full_like(corners, size)], dim=1)
    return images * ~inside_boxes(images, boxes)


def random_erasing(images: Tensor, boxes: Tensor, noise: Tensor) -> Tensor:
    """Fill a rectangle of each image with noise (Zhong, Zheng, Kang, Li and Yang, 2020).

    images: (N, 3, H, W). noise: of the same type, (N, 3, H, W), or (3, H, W) for all. boxes: as for `inside_boxes`.
    """
    return torch.where(inside_boxes(images, boxes), noise, images)


def resize(images: Tensor, side: int) -> Tensor:
    """Scale to side x side pixels with an antialiased triangle filter, as Pillow's BILINEAR, for progressive resizing.

    images: floating point (N, 3, H, W).
    """
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def inside_boxes(images: Tensor, boxes: Tensor) -> Tensor:
    """Return bool (N, 1, H, W): which pixels lie in the image's box.

    boxes: int64 (N, 4): first row, first column, height, width; may reach beyond the image.
    """
    top, left, height, width = to_device(boxes, images.device).unbind(1)
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    in_rows = ((rows >= top[:, None]) & (rows < (top + height)[:, None])).view(torch.uint8)
    in_columns = ((columns >= left[:, None]) & (columns < (left + width)[:, None])).view(torch.uint8)
    # As a product of bytes, because torch does not vectorise `and` on a CPU.
    return (in_rows[:, :, None] * in_columns[:, None, :]).unsqueeze(1).view(torch.bool)
