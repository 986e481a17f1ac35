"""Train on custom data that are not in a folder, with any LightningDataModule that has `num_classes`.

python examples/data_module.py
"""

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from cifar100 import load_config, train


class Stripes(L.LightningDataModule):
    """Noisy stripes, horizontal or vertical; normalised, float (N, 3, 32, 32)."""

    num_classes, class_names = 2, ("horizontal", "vertical")

    def __init__(self) -> None:
        super().__init__()
        self.images, self.labels = draw(640, seed=0)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.images[:512], self.labels[:512]), batch_size=64, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.images[512:], self.labels[512:]), batch_size=64)


def draw(number: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 2
    stripes = torch.sin(torch.arange(32.0)).expand(number, 3, 32, 32)
    images = torch.where(labels[:, None, None, None] == 1, stripes, stripes.transpose(2, 3))
    return images + torch.randn(images.shape, generator=generator), labels


if __name__ == "__main__":
    train(load_config("quickstart", overrides={"training.max_epochs": 2}), datamodule=Stripes())
