"""Sharpness-aware minimization: gradients at a nearby point of high loss instead of at the weights.

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

    A batch is split into parts. For each part, with the gradient g of its loss at the weights w, the loss is computed
    a second time at w + rho d / |d|, with

    - SAM: d = g;
    - F-SAM: d = g - m, with the moving average m <- lambda m + (1 - lambda) g over the parts, so that only the
      batch-specific component of the gradient remains. (The paper's factor sigma is 1, as in its experiments. The
      direction is then the same whether m includes g, as in the paper, or not yet, as here.)

    Batch normalisation uses the statistics of the part in both passes, and only the first pass updates the running
    statistics. Two forward and two backward passes take about twice the time of a plain step. The memory is that of a
    plain step plus a copy of the weights for each part. Random operations such as dropout differ between the passes.

    Args:
        network: its trainable parameters are perturbed out of place.
        rho: norm of the perturbation of all parameters together.
        batch_size: images in a part.
        average_fraction: lambda, the decay of m; None is SAM.
    """

    def __init__(
        self, network: nn.Module, *, rho: float, batch_size: int, average_fraction: float | None = None
    ) -> None:
        super().__init__()
        self.rho = rho
        self.batch_size = batch_size
        self.average_fraction = average_fraction
        self._names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        self._average_names: list[str] = []
        if average_fraction is not None:
            # Buffers are saved with the run, follow its device, and are broadcast from rank 0.
            for number, name in enumerate(self._names):
                plain = name.replace(".", "_")
                self._average_names.append(f"{plain}_{number}" if hasattr(self, plain) else plain)
                self.register_buffer(self._average_names[-1], torch.zeros_like(network.get_parameter(name)))

    def forward(
        self, network: nn.Module, images: Tensor, targets: Sequence[Tensor], loss: Callable[..., Tensor]
    ) -> SharpLoss:
        """Return the loss to minimize, and for the metrics the logits and the loss at the unperturbed weights.

        images: float (N, 3, H, W).
        targets: further arguments of `loss(logits, *targets)`, tensors of N rows. The loss is a mean over the rows.
        Returns: scalar with a gradient; (N, num_classes) and scalar without.
        """
        sharp, plain, all_logits = [], [], []
        sizes = self._part_sizes(len(images))
        for part, *part_targets in zip(*(torch.split(rows, sizes) for rows in (images, *targets)), strict=True):
            fraction = len(part) / len(images)
            logits = network(part)
            here = loss(logits, *part_targets)
            moved = self._moved(network, here)
            with _fixed_statistics(network):
                there = loss(functional_call(network, moved, (part,)), *part_targets)
            sharp.append(fraction * there)
            plain.append(fraction * here.detach())
            all_logits.append(logits.detach())
        return torch.stack(sharp).sum(), torch.cat(all_logits), torch.stack(plain).sum()

    def _part_sizes(self, images: int) -> list[int]:
        """Return the sizes of the parts of a batch.

        A last part of a single image, which batch normalisation could not normalise, joins the part before it.
        """
        whole, rest = divmod(images, self.batch_size)
        sizes = [self.batch_size] * whole
        if rest == 1 and sizes:
            sizes[-1] += 1
        elif rest:
            sizes.append(rest)
        return sizes

    def _moved(self, network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
        """Return the perturbed parameters by name; gradients flow through them to the parameters."""
        parameters = [network.get_parameter(name) for name in self._names]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)  # a custom network may use only some of them
        gradients = [torch.zeros_like(w) if g is None else g for w, g in zip(parameters, found, strict=True)]
        directions = gradients
        if self.average_fraction is not None:
            averages = [self.get_buffer(name) for name in self._average_names]
            directions = list(torch._foreach_sub(gradients, averages))
            torch._foreach_lerp_(averages, gradients, 1 - self.average_fraction)
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(directions)))
        torch._foreach_mul_(directions, self.rho / (length + 1e-12))
        return {name: w + d for name, w, d in zip(self._names, parameters, directions, strict=True)}


def build_sam(network: nn.Module, config: OptimizationConfig) -> SharpnessAware | None:
    """Build SAM or Friendly SAM; None if `config.sam` is `none`."""
    if config.sam == "none":
        return None
    fraction = config.fsam_lambda if config.sam == "friendly" else None
    return SharpnessAware(network, rho=config.sam_rho, batch_size=config.sam_batch_size, average_fraction=fraction)


@contextmanager
def _fixed_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the batch statistics without updating the running ones."""
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    tracking = [layer for layer in layers if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
