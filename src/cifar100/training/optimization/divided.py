"""Work on tensors that all processes hold, divided among the processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def divided(
    function: Callable[..., list[Tensor]],
    tensors: list[Tensor],
    *,
    cost: Callable[[Sequence[int]], int],
    **options: Any,
) -> list[Tensor]:
    """Return `function(tensors, **options)`; each process computes a part and broadcasts it to the others.

    All processes must call this with equal tensors. Tensors of one shape stay together, so that a function that
    processes equal shapes as a batch returns what it returns in a single process, bit for bit.

    Args:
        function: returns tensors of the same shapes and types.
        tensors: on the device of the process group.
        cost: relative cost of a tensor of the given shape.
    """
    owners = assign([tuple(tensor.shape) for tensor in tensors], num_processes=dist.get_world_size(), cost=cost)
    results = list(tensors)
    mine = _owned(owners, dist.get_rank())
    for index, result in zip(mine, function([tensors[index] for index in mine], **options), strict=True):
        results[index] = result
    for owner in sorted(set(owners)):
        indices = _owned(owners, owner)
        message = torch.cat([results[index].flatten() for index in indices])  # other processes overwrite theirs
        dist.broadcast(message, src=owner)
        parts = torch.split(message, [results[index].numel() for index in indices])
        for index, part in zip(indices, parts, strict=True):
            results[index] = part.view(results[index].shape)
    return results


def assign(shapes: Sequence[tuple[int, ...]], *, num_processes: int, cost: Callable[[Sequence[int]], int]) -> list[int]:
    """Return the process of each shape: the costliest group of equal shapes first, each to the least busy process."""
    busy = [0] * num_processes
    owners: dict[tuple[int, ...], int] = {}
    costs = {shape: count * cost(shape) for shape, count in Counter(shapes).items()}
    for shape in sorted(costs, key=lambda shape: (-costs[shape], shape)):
        owners[shape] = busy.index(min(busy))
        busy[owners[shape]] += costs[shape]
    return [owners[shape] for shape in shapes]


def _owned(owners: Sequence[int], process: int) -> list[int]:
    return [index for index, owner in enumerate(owners) if owner == process]
