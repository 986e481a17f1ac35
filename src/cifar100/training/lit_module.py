"""The LightningModule: loss, metrics, optimizer and schedule around a network."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from cifar100.config import Config, OptimizationConfig
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.distillation import Teacher, distillation_loss
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.optimization.sam import SharpnessAware
from cifar100.training.optimization.schedules import build_scheduler

Batch = tuple[Tensor, Tensor]
"""Images, float (N, 3, H, W) and normalised; labels, int64 (N,) or, where images are mixed, float (N, num_classes)."""


class ImageClassifier(L.LightningModule):
    """Trains a network to classify images. The network itself knows nothing of Lightning.

    Args:
        network: images (N, 3, H, W) to logits (N, num_classes).
        config: all settings; `optimization.learning_rate` is a number by now.
        num_classes: width of the logits.
        clock: of the run over which the schedule is stretched.
        teacher: whose probabilities the network learns from, too.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Config,
        *,
        num_classes: int,
        clock: RunClock,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.clock = clock
        self.teacher = teacher
        self.sharpness = _sharpness(network, config.optimization)
        # validate_args and nan_strategy look at the values, for which the host would wait for the device in every step
        top1 = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        top5 = MulticlassAccuracy(num_classes, average="micro", top_k=min(5, num_classes), validate_args=False)
        loss = MeanMetric(nan_strategy="disable")
        self.train_metrics = MetricCollection(
            {"loss": loss.clone(), "accuracy": top1.clone()}, prefix="train/", compute_groups=False
        )
        # Groups are formed of metrics that are equal after the first batch, which may be so by chance, and in one
        # process but not in another; then they would wait for each other for ever.
        self.val_metrics = MetricCollection(
            {"loss": loss, "accuracy": top1, "top5_accuracy": top5}, prefix="val/", compute_groups=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes)."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss to minimize. The metrics are those at the weights, with SAM, too."""
        images, labels = batch
        targets = (labels,) if self.teacher is None else (labels, self.teacher.logits(images))
        if self.sharpness is None:
            logits = self(images)
            loss = measured = self._loss(logits, *targets)
        else:
            loss, logits, measured = self.sharpness(self.network, images, targets, self._loss)
        main_labels = labels if labels.ndim == 1 else labels.argmax(1)
        _update(self.train_metrics, measured.detach(), logits.detach(), main_labels)
        return loss

    def _loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """Return the mean loss of images, as a scalar."""
        settings = self.config.optimization
        loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        if teacher_logits is None:
            return loss
        distilled = distillation_loss(logits, teacher_logits, temperature=settings.teacher_temperature)
        return torch.lerp(loss, distilled, settings.teacher_weight)

    def training_so_far(self) -> tuple[float, float]:
        """Return loss and accuracy of this process's images of the epoch so far. Waits for no other process."""
        loss: Any = self.train_metrics["loss"]  # `compute` would gather
        accuracy: Any = self.train_metrics["accuracy"]
        return (loss.mean_value / loss.weight).item(), (accuracy.tp / (accuracy.tp + accuracy.fn)).item()

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch, at once: `self.log` would do so after the state has been saved."""
        values = {name: value.item() for name, value in self.train_metrics.compute().items()}
        for logger in self.loggers:
            logger.log_metrics(values, step=self.global_step - 1)
        self.train_metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch into the validation metrics; the loss is without label smoothing."""
        images, labels = batch
        logits = self(images)
        _update(self.val_metrics, F.cross_entropy(logits, labels), logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation images."""
        self.log_dict(self.val_metrics.compute())
        self.val_metrics.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and a schedule that moves with every step."""
        settings = self.config.optimization
        assert settings.learning_rate != "auto"
        mode = self.config.training.compile
        optimizer = build_optimizer(
            self.network, settings, settings.learning_rate, compile_mode=None if mode == "none" else mode
        )
        scheduler = build_scheduler(optimizer, settings, self.clock)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _sharpness(network: nn.Module, settings: OptimizationConfig) -> SharpnessAware | None:
    if settings.sam == "none":
        return None
    average = settings.fsam_lambda if settings.sam == "friendly" else None
    return SharpnessAware(network, rho=settings.sam_rho, batch_size=settings.sam_batch_size, average_share=average)


def _update(metrics: MetricCollection, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
    members: dict[str, Any] = dict(metrics.items(keep_base=True))
    for name, metric in members.items():
        if name == "loss":
            metric.update(loss, weight=labels.numel())
        else:
            metric.update(logits, labels)
