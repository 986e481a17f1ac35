"""The loss functions, by name. To add one, write a function here:

    @loss("focal")
    def focal(logits: Tensor, labels: Tensor, *, focal_gamma: Annotated[float, Range(0)] = 2.0) -> Tensor:

Labels are int64 (N,), or probabilities (N, num_classes) if images are mixed. Keyword-only arguments become settings,
`--optimization.focal_gamma` here, with their descriptions under `Args:` as help.

A loss that can weight classes has a third argument, `class_weights`. It divides the sum over the images by their
number: the weights have the mean 1 over the training images, and the sum of those in a batch would differ from process
to process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cifar100.config import OptimizationConfig
from cifar100.config.declarations import components
from cifar100.config.types import Annotated, Range
from cifar100.errors import UserError

Function = TypeVar("Function", bound=Callable[..., Tensor])

Loss = Callable[..., Tensor]
"""Logits, float (N, num_classes), and labels, int64 (N,) or probabilities float (N, num_classes), to a scalar. If the
settings ask for class weights, they are the third argument."""


def loss(name: str) -> Callable[[Function], Function]:
    """Register a loss function under a name of `optimization.loss`."""
    return lambda function: function


def class_weights(labels: NDArray[np.int64], num_classes: int) -> Tensor:
    """Return the weight N / (K n_c) of each class, float32 (num_classes,), as scikit-learn's `balanced` does.

    N: number of images. K: number of classes with images; the others get 0. n_c: number of images of the class.

    labels: int64 (N,), of the training images.
    """
    counts = torch.from_numpy(np.bincount(labels, minlength=num_classes))
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts), 0.0).float()


@loss("cross_entropy")
def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    *,
    label_smoothing: Annotated[float, Range(0, 0.99)] = 0.0,
) -> Tensor:
    """Return the mean cross-entropy in nats.

    With weights w and target probabilities p, the loss of an image is the sum over the classes of -w_c p_c log q_c.

    Args:
        logits: float (N, num_classes).
        labels: int64 (N,), or probabilities, float (N, num_classes).
        class_weights: float (num_classes,); None is 1.
        label_smoothing: Fraction of the target probability that is spread evenly over all classes (Szegedy et al.,
            2016, arXiv:1512.00567).
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    losses = F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=label_smoothing, reduction="sum")
    return losses / len(logits)


def build_loss(config: OptimizationConfig) -> Loss:
    """Return the loss function that `config` names, with its settings. Class weights are given in each call.

    Raises:
        UserError: the loss takes no class weights, but there are some.
    """
    component = components("training/loss.py", "loss")[config.loss]
    function = component.load()
    if config.class_weights != "none" and "class_weights" not in inspect.signature(function).parameters:
        raise UserError(
            f"--optimization.class_weights {config.class_weights} has no effect: the loss {config.loss} takes no class "
            "weights; leave it out, or use --data.sampler balanced."
        )
    values = {setting.name: getattr(config, setting.name) for setting in component.settings}
    return partial(function, **{name: value for name, value in values.items() if value is not None})
