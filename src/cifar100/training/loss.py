"""The loss functions, by name. To add one, write a function here:

    @loss("focal")
    def focal(logits: Tensor, labels: Tensor, *, focal_gamma: Annotated[float, Range(0)] = 2.0) -> Tensor:

Labels are int64 (N,), or probabilities (N, num_classes) if images are mixed. Keyword-only arguments become settings,
`--optimization.focal_gamma` here, with their descriptions under `Args:` as help.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

from cifar100.config import OptimizationConfig
from cifar100.config.declarations import components
from cifar100.config.types import Annotated, Range

Function = TypeVar("Function", bound=Callable[..., Tensor])

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits, float (N, num_classes), and labels, int64 (N,) or probabilities float (N, num_classes), to a scalar."""


def loss(name: str) -> Callable[[Function], Function]:
    """Register a loss function under a name of `optimization.loss`."""
    return lambda function: function


@loss("cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: Annotated[float, Range(0, 0.99)] = 0.0) -> Tensor:
    """Return the mean cross-entropy in nats.

    Args:
        logits: float (N, num_classes).
        labels: int64 (N,), or probabilities, float (N, num_classes).
        label_smoothing: Fraction of the target probability that is spread evenly over all classes (Szegedy et al.,
            2016, arXiv:1512.00567).
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def build_loss(config: OptimizationConfig) -> Loss:
    """Return the loss function that `config` names, with its settings."""
    component = components("training/loss.py", "loss")[config.loss]
    values = {setting.name: getattr(config, setting.name) for setting in component.settings}
    return partial(component.load(), **{name: value for name, value in values.items() if value is not None})
