"""The optimizer of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from cifar100.config import OptimizationConfig
from cifar100.errors import UserError
from cifar100.training.finetuning.layers import block_depths
from cifar100.training.optimization.muon import Muon, muon_groups


def build_optimizer(
    model: nn.Module,
    config: OptimizationConfig,
    learning_rate: float,
    *,
    compile_mode: str | None = None,
    shared: bool = False,
) -> Optimizer:
    """Build the optimizer of all trainable parameters of `model`, which is already on its device.

    Frozen parameters are excluded, so that weight decay cannot change them.

    Args:
        model: the network.
        config: optimizer, momentum and weight decay.
        learning_rate: the maximum of the schedule; `config` may hold `auto` instead.
        compile_mode: mode of torch.compile for `muon`; the other optimizers are a single kernel. None does not compile.
        shared: whether the processes of a run divide what `muon` computes; see `Muon`.

    Raises:
        UserError: `muon`, but no convolution is trained, so that its settings would have no effect.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # A single kernel for all parameters on CUDA. It gains nothing on the CPU, so torch chooses there.
    fused = True if all(parameter.is_cuda for parameter in parameters) else None
    if config.optimizer == "muon":
        filters, others = muon_groups(model, lr=learning_rate, momentum=config.momentum)
        if not filters["params"]:
            raise UserError(
                f"--optimization.optimizer muon is for convolutions, but {type(model).__name__} has none that are "
                "trained; use --optimization.optimizer sgd."
            )
        return Muon(
            [filters, *_decay_groups(others, config)],
            lr=config.muon_learning_rate,
            momentum=config.muon_momentum,
            compile_mode=compile_mode,
            shared=shared,
        )
    if config.layer_decay < 1:
        layers = layer_groups(model, learning_rate=learning_rate, layer_decay=config.layer_decay)
        groups = [group for layer in layers for group in _decay_groups(layer, config)]
    else:
        groups = _decay_groups({"params": parameters}, config)
    if config.optimizer == "sgd":
        kind = DecoupledSGD if config.decoupled_weight_decay else SGD
        return kind(groups, lr=learning_rate, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
    betas = (float(config.momentum), 0.999)  # torch refuses the 0 that a file may hold for 0.0
    return AdamW(groups, lr=learning_rate, betas=betas, fused=fused)


def layer_groups(model: nn.Module, *, learning_rate: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return a parameter group for each layer that is trained, the classifier first.

    The classifier has the learning rate, and each layer `layer_decay` times that of the layer after it: Bao et al.,
    "BEiT", ICLR 2022, arXiv:2106.08254. `lr_scale` is the factor, for the learning-rate finder.
    """
    depths = block_depths(model)
    last = max(depths.values(), default=0)
    groups = []
    for depth in range(last, -1, -1):
        parameters = [weight for name, weight in model.named_parameters() if depths[name] == depth]
        trained = [weight for weight in parameters if weight.requires_grad]
        scale = layer_decay ** (last - depth)
        groups += [{"params": trained, "lr": learning_rate * scale, "lr_scale": scale}] if trained else []
    return groups


class DecoupledSGD(SGD):
    """torch's SGD with decoupled weight decay: SGDW (Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101).

    Before the step of the gradient, w <- (1 - lr * weight_decay) w; the momentum never sees the decay. As in torch's
    AdamW the decay is multiplied by the whole learning rate, in the paper by its schedule alone.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step. `closure` recomputes the gradients and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            weights = [parameter for parameter in group["params"] if parameter.grad is not None]
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0.0
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return loss


def _decay_groups(group: dict[str, Any], config: OptimizationConfig) -> list[dict[str, Any]]:
    """Divide a parameter group by weight decay, where it is not on all; biases and normalisations are vectors."""
    if config.weight_decay_on == "all":
        return [{**group, "weight_decay": config.weight_decay}]
    weights = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    divided = [(weights, config.weight_decay), (vectors, 0.0)]
    return [{**group, "params": chosen, "weight_decay": decay} for chosen, decay in divided if chosen]
