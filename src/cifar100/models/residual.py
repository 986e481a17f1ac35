"""Base class of residual blocks, with stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block whose output is its input, perhaps projected, plus a residual.

    With stochastic depth (Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382) the
    residual of each training image is dropped with probability `drop_probability`.
    """

    drop_probability: float = 0.0

    def drop(self, residual: Tensor) -> Tensor:
        """Return the residual (N, ...), in training with that of some images set to 0.

        The others are divided by the probability to be kept, so that nothing need be scaled in evaluation, where the
        paper does it; the expectation is the same.
        """
        if not self.training or self.drop_probability == 0:
            return residual
        kept = 1 - self.drop_probability
        shape = (len(residual), *(1 for _ in residual.shape[1:]))
        mask = torch.empty(shape, dtype=residual.dtype, device=residual.device)
        return residual * mask.bernoulli_(kept).div_(kept)


def set_stochastic_depth(network: nn.Module, last: float, *, from_zero: bool = False) -> None:
    """Let the drop probability rise linearly over the residual blocks, to `last` in the last one (Huang et al.).

    from_zero: whether the first block has probability 0, as in the code of most transformers. In the paper it has that
        of one step.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for number, block in enumerate(blocks, start=1):
        block.drop_probability = last * (number - from_zero) / (len(blocks) - from_zero)
