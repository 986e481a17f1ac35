"""Watch a training with a custom callback that uses Lightning's hooks.

python examples/callback.py [DATA_FOLDER]    (default: Shapes-100, generated in dataset_shapes100)
"""

import sys

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from cifar100 import load_config, train


class WeightNorm(Callback):
    """Print the norm of all weights after each epoch, and log it to every logger."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        norm = torch.stack([weights.detach().norm() for weights in pl_module.parameters()]).norm().item()
        print(f"epoch {trainer.current_epoch + 1}: norm of the weights {norm:.2f}")
        for logger in trainer.loggers:
            logger.log_metrics({"weights/norm": norm}, step=trainer.global_step)


if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else "dataset_shapes100"
    config = load_config("quickstart", overrides={"data.root": root, "training.max_epochs": 3})
    train(config, callbacks=[WeightNorm(), EarlyStopping("val/accuracy", mode="max", patience=2)])
