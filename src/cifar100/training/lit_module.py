"""The LightningModule: loss, metrics, optimizer and schedule around a network.

It works with any `Trainer`, with `EarlyStopping("val/accuracy")` or `("train/loss")`, and with
`ImageClassifier.load_from_checkpoint`. The network itself does not depend on Lightning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from cifar100.config import Config
from cifar100.errors import UserError
from cifar100.metrics import METRICS, accuracy, says_something
from cifar100.models import NetworkSource, make_network
from cifar100.settings import config_from_dict, to_dict
from cifar100.training.finetuning.freezing import freeze
from cifar100.training.loss import Loss, build_loss
from cifar100.training.metric_sums import MetricSums
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.distillation import Teacher, distillation_loss
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.optimization.sam import build_sam
from cifar100.training.optimization.schedules import build_scheduler, set_learning_rates, set_momentum
from cifar100.training.trainer import LOOK_EVERY_STEPS

Batch = tuple[Tensor, Tensor]
"""Images, float (N, 3, H, W) and normalised; labels, int64 (N,), or float (N, num_classes) if images are mixed."""


class ImageClassifier(L.LightningModule):
    """Trains a network to classify images.

    Args:
        config: all settings, or the output of `settings.to_dict`. `optimization.learning_rate` is a number.
        num_classes: width of the logits.
        network: maps images (N, 3, H, W) to logits (N, num_classes), or a function that makes such a network from the
            number of classes. Default: the one that `config.model` names.
        loss: maps logits and labels to a scalar. Default: the one that `config.optimization` names.
        clock: measures the progress of the run for the schedule. Default: counts the steps of the Trainer.
        teacher: a trained network for knowledge distillation.
        class_weights: float (num_classes,), if `optimization.class_weights` asks for them; see `loss.class_weights`.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any],
        num_classes: int,
        *,
        network: NetworkSource | None = None,
        loss: Loss | None = None,
        clock: RunClock | None = None,
        teacher: Teacher | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config if isinstance(config, Config) else config_from_dict(config)
        self.num_classes = num_classes
        self.network = make_network(network, self.config.model, num_classes)
        self.frozen = freeze(self.network, self.config.model.freeze)
        self.classifier: str | None = None
        """Name of the network's classifier, if the batches are features that only it takes."""
        self.loss = loss or build_loss(self.config.optimization)
        self.clock = clock
        self._makes_clock = clock is None
        self.teacher = teacher
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.sam = build_sam(self.network, self.config.optimization)
        self.train_sums = MetricSums(["loss", "accuracy"])
        self.val_sums = MetricSums(list(METRICS))
        self.step_loss = torch.tensor(math.nan)
        """Loss of the last training step on its device, without a gradient; with SAM, at the unperturbed weights."""
        self.save_hyperparameters({"config": to_dict(self.config), "num_classes": num_classes}, logger=False)
        self._freeze_modes()

    def train(self, mode: bool = True) -> ImageClassifier:
        """Set the mode of all layers; what is frozen stays in evaluation mode."""
        super().train(mode)
        self._freeze_modes()
        return self

    def _freeze_modes(self) -> None:
        for module in self.frozen:
            module.eval()

    class_weights: Tensor | None

    @property
    def trained(self) -> nn.Module:
        """The network; only its classifier if the batches are features."""
        return self.network if self.classifier is None else self.network.get_submodule(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised, or features (N, D). Returns logits (N, num_classes)."""
        logits: Tensor = self.trained(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss to minimize. With SAM, the metrics are those at the unperturbed weights."""
        images, labels = batch
        try:
            return self._train_on(images, labels)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise UserError(
                    f"a training batch has {len(images)} image, which a layer of the network reduces to one pixel, but "
                    "batch normalisation needs two values for each channel; use a --data.batch_size of at least 2."
                ) from error
            raise

    def _train_on(self, images: Tensor, labels: Tensor) -> Tensor:
        targets = (labels,) if self.teacher is None else (labels, self.teacher.logits(images))
        if self.sam is None:
            logits = self(images)
            loss = measured = self._loss(logits, *targets)
        else:
            loss, logits, measured = self.sam(self.network, images, targets, self._loss)
        main_labels = labels if labels.ndim == 1 else labels.argmax(1)
        values = {"loss": measured, "accuracy": accuracy(logits.detach(), main_labels).mean()}
        self.train_sums.update(values, len(labels))
        self.step_loss = measured.detach()
        return loss

    def _loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """Return the mean loss over the images, a scalar."""
        self._check(logits, len(labels))
        loss = self.loss(logits, labels, *([] if self.class_weights is None else [self.class_weights]))
        if teacher_logits is None:
            return loss
        settings = self.config.optimization
        distilled = distillation_loss(logits, teacher_logits, temperature=settings.teacher_temperature)
        return torch.lerp(loss, distilled, settings.teacher_weight)

    def _check(self, logits: Tensor, num_images: int) -> None:
        """Refuse the output of a custom network that does not fit the labels."""
        expected = (num_images, self.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"the network returns {found} for {num_images:,} images, expected logits {expected}, one for "
                "each class; change the output size of its last layer."
            )

    def train_metrics(self) -> dict[str, float]:
        """Return the training metrics of the epoch so far over all processes. A collective operation."""
        return self._means(self.train_sums, "train/")

    def on_train_epoch_end(self) -> None:
        """Log the training metrics of the epoch.

        The loggers receive them directly: `self.log` would write them only after the state has been saved, and a run
        killed in between would lose them.
        """
        values = self.train_metrics()
        for logger in self.loggers:
            logger.log_metrics(values, step=self.global_step - 1)
        self.log_dict(values, logger=False)
        self.train_sums.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._evaluation_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation images."""
        self._log_evaluation("val/")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the test metrics, for `Trainer.test`; `cifar100 evaluate` measures the official test split."""
        self._evaluation_step(batch)

    def on_test_epoch_end(self) -> None:
        """Log the means over the test images."""
        self._log_evaluation("test/")

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return class probabilities, float (N, num_classes), for images or for images and labels."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        probabilities: Tensor = self(images).softmax(dim=1)
        return probabilities

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and a schedule that is updated every step."""
        settings = self.config.optimization
        if settings.learning_rate == "auto":
            raise UserError("optimization.learning_rate is auto, which only train() resolves; set it to a number.")
        if settings.class_weights != "none" and self.class_weights is None:
            raise UserError(
                f"optimization.class_weights is {settings.class_weights}, which only train() computes; pass the "
                "weights to ImageClassifier: class_weights=class_weights(labels, num_classes)."
            )
        clock = self.clock
        if clock is None or self._makes_clock:  # a new one for each fit
            clock = self.clock = RunClock(self._total_steps())
        mode = self.config.training.compile
        optimizer = build_optimizer(
            self.network,
            settings,
            settings.learning_rate,
            compile_mode=None if mode == "none" else mode,
            shared=self._divides_work(),
        )
        scheduler = build_scheduler(optimizer, settings, clock)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _divides_work(self) -> bool:
        """Return whether the processes divide the optimizer's work.

        A GPU computes all of it in less time than the exchange takes, and so does a CPU at the other end of a network.
        """
        if self._trainer is None:
            return False
        here = self._trainer.world_size > 1 and self._trainer.num_nodes == 1
        return here and self.device.type == "cpu"

    def _total_steps(self) -> int:
        """Return the optimizer steps of the Trainer's run."""
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise UserError("the schedule needs the length of the run; set max_epochs or max_steps of the Trainer.")
        return int(steps)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance the schedule and the clock by one optimizer step."""
        assert self.clock is not None
        self._take_time_of_rank_zero(self.clock)
        scheduler.step()
        self.clock.steps = scheduler.last_epoch

    def on_train_start(self) -> None:
        """Set the learning rates again: a resumed run may have a longer or shorter schedule."""
        assert self.clock is not None
        self._take_time_of_rank_zero(self.clock, always=True)
        for config in self.trainer.lr_scheduler_configs:
            set_learning_rates(cast(LambdaLR, config.scheduler))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the momentum of the next step."""
        if self.config.optimization.cycle_momentum and self.clock is not None:
            set_momentum(self.trainer.optimizers[0], self.config.optimization, self.clock)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the clock, and the sums of the epoch so far over all processes. A collective operation."""
        if self.clock is not None:
            checkpoint["clock"] = {"steps": self.clock.steps, "seconds": self.clock.seconds}
        if self._trainer is not None:
            checkpoint["train_sums"] = self.train_sums.reduced(self.trainer.strategy)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore both; rank 0 holds the sums of all processes. `best.ckpt` has no state of SAM."""
        if self.clock is not None and "clock" in checkpoint:
            self.clock.resume(**checkpoint["clock"])
        if "train_sums" in checkpoint and self.global_rank == 0:
            self.train_sums.sums.copy_(checkpoint["train_sums"])
        own = self.state_dict()
        absent = {name: own[name] for name in own.keys() - checkpoint["state_dict"].keys() if name.startswith("sam.")}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **absent}

    def _take_time_of_rank_zero(self, clock: RunClock, *, always: bool = False) -> None:
        """Give all processes of a run that ends by time the same time, so that they do the same. Collective.

        On a GPU this would make the host wait, so it is done after every `LOOK_EVERY_STEPS` steps, or `always`.
        """
        device = self.trainer.strategy.root_device
        is_due = always or device.type == "cpu" or clock.steps % LOOK_EVERY_STEPS == 0
        if self.trainer.world_size > 1 and clock.max_seconds is not None and is_due:
            clock.hold(self.trainer.strategy.broadcast(clock.running_seconds, src=0))

    def _evaluation_step(self, batch: Batch) -> None:
        images, labels = batch
        logits = self(images)
        self._check(logits, len(labels))
        self.val_sums.update({name: metric(logits, labels).mean() for name, metric in METRICS.items()}, len(labels))

    def _log_evaluation(self, prefix: str) -> None:
        self.log_dict(self._means(self.val_sums, prefix))
        self.val_sums.reset()

    def _means(self, sums: MetricSums, prefix: str) -> dict[str, float]:
        *totals, count = sums.reduced(self.trainer.strategy).tolist()
        means = {name: total / max(count, 1) for name, total in zip(sums.names, totals, strict=True)}
        return {f"{prefix}{name}": mean for name, mean in means.items() if says_something(name, self.num_classes)}
