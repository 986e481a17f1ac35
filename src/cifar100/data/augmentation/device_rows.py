"""Rows of a batch: moved to their device, and put back into it, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def replace_images(images: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """Return images with those at `rows`, int64 (n,), replaced by `new`; all uint8.

    Eight pixels are moved at a time, where a row of them allows it: on a CPU two to five times as quick.
    """
    if images.shape[3] % 8 == 0 and images.is_contiguous() and new.is_contiguous():
        return images.view(torch.int64).index_copy(0, rows, new.view(torch.int64)).view(torch.uint8)
    return images.index_copy(0, rows, new)


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Move what was drawn on the CPU to the images' device without waiting for the device."""
    if device.type == "cuda" and drawn.device.type == "cpu":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)
