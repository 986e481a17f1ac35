"""Sharpness-aware minimization: gradients taken not at the weights, but where the loss nearby is highest.

SAM: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021, arXiv:2010.01412.
F-SAM: Li et al., "Friendly Sharpness-Aware Minimization", CVPR 2024, arXiv:2403.12350.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cifar100.config import OptimizationConfig

SharpLoss = tuple[Tensor, Tensor, Tensor]


class SharpnessAware(nn.Module):
    """Computes the loss whose gradient is that of SAM or F-SAM; any optimizer then steps with it.

    A batch is taken apart. For each part, with the gradient g of its loss at the weights w, the loss is computed a
    second time at w + rho d / |d|, where

    - SAM: d = g;
    - F-SAM: d = g - m, with the moving average m <- share m + (1 - share) g over the parts: of the gradient only what
      is this part's own. (The paper's factor sigma is 1, as in its experiments. Then it is the same direction whether
      m has g in it already, as in the paper, or not yet, as here.)

    Batch normalisation uses the statistics of the part in both passes, and keeps those of the first. Two forward and
    two backward passes: about twice the time of a plain step, and its memory with the weights once more for each part.
    What a network draws by chance, such as dropout, it draws anew in the second pass.

    Args:
        network: whose trainable parameters are moved; its own values are never written to.
        rho: length of the move, over all parameters together.
        batch_size: images in a part.
        average_fraction: share that m keeps at each part; None is SAM.
    """

    def __init__(
        self, network: nn.Module, *, rho: float, batch_size: int, average_fraction: float | None = None
    ) -> None:
        super().__init__()
        self.rho = rho
        self.batch_size = batch_size
        self.average_fraction = average_fraction
        self._names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        if average_fraction is not None:
            # Buffers, so that they are saved with the run, move with it, and are the first process's in every process.
            for name in self._names:
                self.register_buffer(_buffer_name(name), torch.zeros_like(network.get_parameter(name)))

    def forward(
        self, network: nn.Module, images: Tensor, targets: Sequence[Tensor], loss: Callable[..., Tensor]
    ) -> SharpLoss:
        """Return the loss to be minimized, and for the metrics the logits and the loss at the weights themselves.

        images: float (N, 3, H, W).
        targets: what `loss(logits, *targets)` wants beside the logits, tensors of N rows; it is a mean over the rows.
        Returns: scalar with a gradient; (N, num_classes) and scalar without.
        """
        sharp, plain, all_logits = [], [], []
        for part, *part_targets in zip(
            *(torch.split(rows, self.batch_size) for rows in (images, *targets)), strict=True
        ):
            share = len(part) / len(images)
            logits = network(part)
            here = loss(logits, *part_targets)
            moved = self._moved(network, here)
            with _fixed_statistics(network):
                there = loss(functional_call(network, moved, (part,)), *part_targets)
            sharp.append(share * there)
            plain.append(share * here.detach())
            all_logits.append(logits.detach())
        return torch.stack(sharp).sum(), torch.cat(all_logits), torch.stack(plain).sum()

    def _moved(self, network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
        """Return the moved parameters by name; gradients go through them to the parameters themselves."""
        parameters = [network.get_parameter(name) for name in self._names]
        directions = list(torch.autograd.grad(loss, parameters))
        if self.average_fraction is not None:
            averages = [self.get_buffer(_buffer_name(name)) for name in self._names]
            gradients, directions = directions, list(torch._foreach_sub(directions, averages))
            torch._foreach_lerp_(averages, gradients, 1 - self.average_fraction)
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(directions)))
        torch._foreach_mul_(directions, self.rho / (length + 1e-12))
        return {name: w + d for name, w, d in zip(self._names, parameters, directions, strict=True)}


def build_sam(network: nn.Module, config: OptimizationConfig) -> SharpnessAware | None:
    """Return what computes the loss with SAM or Friendly SAM; None if `config.sam` is `none`."""
    if config.sam == "none":
        return None
    fraction = config.fsam_lambda if config.sam == "friendly" else None
    return SharpnessAware(network, rho=config.sam_rho, batch_size=config.sam_batch_size, average_fraction=fraction)


def _buffer_name(parameter: str) -> str:
    return parameter.replace(".", "_")


@contextmanager
def _fixed_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of the batch, but not take them into its running ones."""
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracking = [layer for layer in layers if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
