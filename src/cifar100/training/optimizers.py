"""The optimizer of a run."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from cifar100.config import OptimizationConfig
from cifar100.training.muon import Muon, muon_groups


def build_optimizer(
    model: nn.Module, config: OptimizationConfig, learning_rate: float, *, compile_mode: str | None = None
) -> Optimizer:
    """Build the optimizer of all trainable parameters of `model`, which is already on its device.

    learning_rate: the highest of the schedule. Given apart from `config` because there it may be `auto`.
    compile_mode: of torch.compile for `muon`; the other optimizers are one kernel already. None is not to compile.
    Frozen parameters are left out, so that weight decay cannot change them.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # One kernel for all parameters. On the CPU it gains nothing, and torch's own choice is right there.
    fused = True if all(parameter.is_cuda for parameter in parameters) else None
    if config.optimizer == "muon":
        others = {"lr": learning_rate, "momentum": config.momentum, "weight_decay": config.weight_decay}
        return Muon(
            muon_groups(model, **others),
            lr=config.muon_learning_rate,
            momentum=config.muon_momentum,
            compile_mode=compile_mode,
        )
    if config.optimizer == "sgd":
        return SGD(
            parameters,
            lr=learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return AdamW(
        parameters,
        lr=learning_rate,
        betas=(float(config.momentum), 0.999),  # torch refuses the 0 that a file may hold for 0.0
        weight_decay=config.weight_decay,
        fused=fused,
    )
