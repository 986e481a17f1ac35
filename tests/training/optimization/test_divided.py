from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from muon_in_processes import save_what_a_process_computes, weights_after_some_steps

from cifar100.training.optimization.divided import assign


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


@pytest.mark.parametrize("num_processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_process_has_all_results_of_one_process_bit_for_bit(num_processes: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=save_what_a_process_computes, args=(rank, num_processes, tmp_path))
        for rank in range(num_processes)
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
