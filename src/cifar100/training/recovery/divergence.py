"""Detect that a training has diverged: its losses or its weights are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cifar100.errors import Diverged

Maximum = Callable[[Tensor], Tensor]
"""Elementwise maximum over all processes, so that all take the same decision."""


class LossWatch:
    """Counts consecutive losses that are not finite, on their device.

    Args:
        limit: this many in a row are a divergence.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_a_row = torch.zeros((), dtype=torch.int64)
        self._diverged_at = torch.full((), -1, dtype=torch.int64)
        self._learning_rates: dict[int, float] = {}
        self._last_step = -1

    def add(self, loss: Tensor, *, step: int, learning_rate: float) -> None:
        """Count the loss of an optimizer step. Does not wait for the device."""
        if self._in_a_row.device != loss.device:
            self._in_a_row, self._diverged_at = self._in_a_row.to(loss.device), self._diverged_at.to(loss.device)
        self._in_a_row = (self._in_a_row + 1) * ~torch.isfinite(loss.detach())
        is_first = (self._in_a_row == self.limit) & (self._diverged_at < 0)
        self._diverged_at = torch.where(is_first, step - self.limit + 1, self._diverged_at)
        self._learning_rates[step] = learning_rate
        self._last_step = step

    def check(self, maximum: Maximum, *, at_the_end: bool = False) -> bool:
        """Return whether the last loss was finite in every process. Waits for the device and the other processes.

        at_the_end: whether no step follows that could show a recovery. One loss that is not finite is then too many.

        Raises:
            Diverged: too many in a row in any process; names the first of them, counted from 1, and its learning rate.
        """
        in_a_row, step = maximum(torch.stack([self._in_a_row, self._diverged_at])).tolist()
        if at_the_end and in_a_row and step < 0:
            step = self._last_step - in_a_row + 1
        if step >= 0:
            rate = self._learning_rates.get(step, float("nan"))
            raise Diverged(
                f"the training diverged: the loss was not finite at step {step + 1}, at a learning rate of {rate:.3g}"
            )
        if in_a_row == 0:
            self._learning_rates.clear()
        return bool(in_a_row == 0)


def check_weights(weights: Iterable[Tensor], maximum: Maximum, *, step: int, learning_rate: float) -> None:
    """Check all weights before they replace good ones on disk. Waits for the device and the other processes.

    Raises:
        Diverged: a weight is not finite in any process.
    """
    floating = [weight for weight in weights if weight.is_floating_point()]
    if floating and maximum(torch.stack([(~torch.isfinite(weight)).any() for weight in floating]).any().int()):
        raise Diverged(
            f"the training diverged: weights are not finite after step {step + 1}, at a learning rate of "
            f"{learning_rate:.3g}"
        )
