"""Notice that a training has diverged: its loss, or its weights, are no longer finite numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cifar100.errors import Diverged


class LossWatch:
    """Counts losses in a row that are infinite or not a number, on their device, and looks at the count when asked.

    Args:
        limit: this many in a row are a divergence.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_a_row = torch.zeros((), dtype=torch.int64)
        self._longest = torch.zeros((), dtype=torch.int64)
        self._last_bad = torch.full((), -1, dtype=torch.int64)
        self._rates: dict[int, float] = {}

    def add(self, loss: Tensor, *, step: int, learning_rate: float) -> None:
        """Count the loss of an optimizer step. Does not wait for the device."""
        if self._in_a_row.device != loss.device:
            self._in_a_row, self._longest, self._last_bad = (
                tensor.to(loss.device) for tensor in (self._in_a_row, self._longest, self._last_bad)
            )
        bad = ~torch.isfinite(loss.detach())
        self._in_a_row = (self._in_a_row + 1) * bad
        self._longest = torch.maximum(self._longest, self._in_a_row)
        self._last_bad = torch.where(bad & (self._longest <= self.limit), step, self._last_bad)
        self._rates[step] = learning_rate

    @property
    def is_clean(self) -> bool:
        """Whether the last loss was a finite number. Waits for the device."""
        return int(self._in_a_row) == 0

    def check(self) -> None:
        """Look at the count. Waits for the device.

        Raises:
            Diverged: too many in a row; names the first of them, counted from 1, and its learning rate.
        """
        if int(self._longest) >= self.limit:
            step = int(self._last_bad) - min(int(self._longest), self.limit) + 1
            rate = self._rates.get(step, float("nan"))
            raise Diverged(
                f"the training has diverged: the loss was no finite number at step {step + 1}, at a learning rate of "
                f"{rate:.3g}; the last good checkpoint is kept. Try a lower --optimization.learning_rate."
            )
        if self.is_clean:
            self._rates.clear()


def check_weights(weights: Iterable[Tensor], *, step: int, learning_rate: float) -> None:
    """Look at all weights, before they are saved over good ones. Waits for the device.

    Raises:
        Diverged: one of them is infinite or not a number.
    """
    floating = [weight for weight in weights if weight.is_floating_point()]
    if floating and not bool(torch.stack([torch.isfinite(weight).all() for weight in floating]).all()):
        raise Diverged(
            f"the training has diverged: weights are no finite numbers after step {step + 1}, at a learning rate of "
            f"{learning_rate:.3g}; the last good checkpoint is kept. Try a lower --optimization.learning_rate."
        )
