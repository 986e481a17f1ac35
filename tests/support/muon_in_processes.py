"""Steps of Muon in several processes, in a module that a spawned process finds.

pytest imports the test modules without adding their folder to `sys.path`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.training.optimization.divided import divided
from cifar100.training.optimization.muon import Muon, muon_groups

STEPS = 3


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelConfig(name="fast_net", widths=(8, 8, 16)), 4)


def weights_after_some_steps(*, shared: bool) -> list[Tensor]:
    """Return the weights after steps with gradients that depend on nothing but the step."""
    network = small_network()
    optimizer = Muon(muon_groups(network, lr=0.5), lr=0.1, shared=shared)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator) if parameter.requires_grad else None
        optimizer.step()
    return [parameter.detach() for parameter in network.parameters()]


def save_what_a_process_computes(rank: int, num_processes: int, folder: Path) -> None:
    """Save the weights, and how many tensors this process has computed."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file:///{folder.as_posix().lstrip('/')}/store", rank=rank, world_size=num_processes
    )
    computed: list[Tensor] = []

    def negated(tensors: list[Tensor], *, offset: int) -> list[Tensor]:
        computed.extend(tensors)
        return [offset - tensor for tensor in tensors]

    given = [torch.full((size, 2), float(size)) for size in (1, 5, 3, 5)]
    results = divided(negated, given, cost=math.prod, offset=7)
    weights = weights_after_some_steps(shared=True)
    torch.save({"results": results, "computed": len(computed), "weights": weights}, folder / f"{rank}.pt")
    dist.destroy_process_group()
