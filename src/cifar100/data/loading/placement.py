"""Where the images of the `packed` pipeline are held: on the device, in the memory of the host, or in their file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cifar100.data.folder.layout import DataFolder
from cifar100.process.memory import bytes_text


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the training images of a folder are held. Each process holds its own, except if they are mapped."""

    folder: DataFolder
    device: torch.device
    place: Literal["device", "memory", "mapped"]
    copies: int
    """Number of processes on this machine."""

    def describe(self) -> str:
        """Return the place and the memory that is taken, before it is."""
        size = bytes_text(self.folder.image_bytes("train"))
        if self.place == "mapped":
            return f"{size}, more than half of the available memory: mapped from {self.folder.packed}"
        each = f" in each of {self.copies} processes" if self.copies > 1 else ""
        if self.place == "memory" and self.device.type != "cpu":
            return f"{size} in the memory of the host{each}, more than half of that of {self.device}"
        return f"{size} in the memory of {self.device.type}{each}"

    def load(self) -> Tensor:
        """Return the images, uint8 (N, 3, S, S)."""
        if self.place == "memory" and self.device.type == "cpu":
            return torch.from_numpy(self.folder.load("train")[0])
        images = torch.from_numpy(self.folder.map_images("train"))
        if self.place == "mapped":
            return images
        return images.to(self.device) if self.place == "device" else images.clone()


def place_images(folder: DataFolder, device: torch.device, *, copies: int) -> Placement:
    """Choose the fastest place of which the training images take at most half.

    Args:
        folder: a prepared data folder.
        device: on which the network is trained.
        copies: number of processes on this machine.
    """
    place: Literal["device", "memory", "mapped"] = "memory" if folder.fits("train", copies=copies) else "mapped"
    if device.type == "cuda" and folder.image_bytes("train") <= torch.cuda.mem_get_info(device)[0] / 2:
        place = "device"
    if device.type == "mps" and place == "memory":  # which is that of the host
        place = "device"
    return Placement(folder=folder, device=device, place=place, copies=copies)
