from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.training.optimization.divided import assign, divided
from cifar100.training.optimization.muon import Muon, muon_groups

STEPS = 3


def test_the_costliest_shape_comes_first_and_each_goes_to_the_least_busy_process() -> None:
    shapes = [(1, 3), (1, 9), (1, 6), (1, 3)]  # 9 for one, 6 and 3 + 3 for the others
    assert assign(shapes, num_processes=2, cost=math.prod) == [1, 0, 1, 1]
    assert assign(shapes, num_processes=3, cost=math.prod) == [1, 0, 2, 1]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 9])
def test_tensors_of_one_shape_stay_together(num_processes: int) -> None:
    shapes = [(4, 9), (2, 2), (4, 9), (8, 1), (2, 2)]
    owners = assign(shapes, num_processes=num_processes, cost=math.prod)
    assert owners[0] == owners[2]
    assert owners[1] == owners[4]
    assert len(set(owners)) == min(num_processes, 3)


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


def _in_a_process(rank: int, num_processes: int, folder: Path) -> None:
    """Save the weights, and how many tensors this process has computed."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_processes)
    computed: list[Tensor] = []

    def negated(tensors: list[Tensor], *, offset: int) -> list[Tensor]:
        computed.extend(tensors)
        return [offset - tensor for tensor in tensors]

    given = [torch.full((size, 2), float(size)) for size in (1, 5, 3, 5)]
    results = divided(negated, given, cost=math.prod, offset=7)
    weights = weights_after_some_steps(shared=True)
    torch.save({"results": results, "computed": len(computed), "weights": weights}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("num_processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_process_has_all_results_of_one_process_bit_for_bit(num_processes: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_in_a_process, args=(rank, num_processes, tmp_path)) for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    expected = weights_after_some_steps(shared=False)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(num_processes)]
    for of_process in found:
        assert [result[0, 0].item() for result in of_process["results"]] == [6, 2, 4, 2]
        for ours, theirs in zip(of_process["weights"], expected, strict=True):
            assert torch.equal(ours, theirs)
    assert sorted(of_process["computed"] for of_process in found) == ([2, 2] if num_processes == 2 else [1, 1, 2])
