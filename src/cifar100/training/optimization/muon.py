"""Muon: momentum, with the update of each weight matrix replaced by an approximation of the nearest orthogonal matrix.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. torch's `Muon` takes matrices only.
This one takes convolutions and processes all matrices of one shape at once. It also updates the other parameters,
because Lightning's automatic optimization supports a single optimizer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cifar100.training.optimization.divided import divided

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, from the source above. They increase small singular values fastest, but leave all of
them between about 0.7 and 1.2 instead of at 1."""


class Muon(Optimizer):
    """Muon for convolutions, stochastic gradient descent with Nesterov momentum for all other parameters.

    Groups with `orthogonal` False are updated as by torch's `SGD(nesterov=True)`. The other groups hold filters
    (out_channels, in_channels, height, width), treated as matrices of out_channels rows. Batch normalisation must
    follow them: before each update they are scaled to Frobenius norm sqrt(out_channels). This keeps the output
    of the network and makes the learning rate relative to the weights. They have no weight decay.

    Args:
        params: parameter groups.
        lr: learning rate of the filters, relative to their norm.
        momentum: momentum of the filters.
        weight_decay: L2 penalty of the other parameters.
        newton_schulz_steps: iterations of the orthogonalisation.
        compile_mode: mode of torch.compile for the many small matrix products; None does not compile them.
        shared: whether the processes of a run divide the orthogonalisation. They must take every step together, with
            equal gradients.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        momentum: float = 0.6,
        weight_decay: float = 0.0,
        newton_schulz_steps: int = 3,
        compile_mode: str | None = None,
        shared: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "newton_schulz_steps": newton_schulz_steps,
            "orthogonal": True,
        }
        super().__init__(params, defaults)
        self._orthogonalise_all: Callable[..., list[Tensor]] = orthogonalise_all
        if compile_mode is not None:
            self._orthogonalise_all = torch.compile(orthogonalise_all, mode=compile_mode, dynamic=False)
        if shared:
            self._orthogonalise_all = partial(divided, self._orthogonalise_all, cost=newton_schulz_cost)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient. `closure` recomputes the gradients and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = [self._nesterov(parameter, group) for parameter in parameters]
            if group["orthogonal"]:
                directions = self._orthogonalise_all(directions, num_steps=group["newton_schulz_steps"])
                for parameter in parameters:
                    parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=-group["lr"])
        return loss

    def _nesterov(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Add the gradient to the momentum of `parameter` and return the direction of its update."""
        assert parameter.grad is not None
        gradient = parameter.grad
        if group["weight_decay"] and not group["orthogonal"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        buffer.mul_(group["momentum"]).add_(gradient)
        return gradient.add(buffer, alpha=group["momentum"])


def muon_groups(model: nn.Module, **others: Any) -> list[dict[str, Any]]:
    """Return two parameter groups: the trainable convolution filters of `model`, and its other trainable parameters.

    others: options of the second group, such as `lr` and `weight_decay`.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if parameter.ndim == 4]},
        {"params": [parameter for parameter in trainable if parameter.ndim != 4], "orthogonal": False, **others},
    ]


def orthogonalise_all(tensors: list[Tensor], *, num_steps: int) -> list[Tensor]:
    """Orthogonalise tensors of any shapes, each as a matrix with its first dimension as the rows."""
    indices_of_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        indices_of_shape[len(tensor), tensor[0].numel()].append(index)
    results = list(tensors)
    for shape, indices in indices_of_shape.items():
        matrices = orthogonalise(torch.stack([tensors[i].reshape(shape) for i in indices]), num_steps=num_steps)
        for index, matrix in zip(indices, matrices, strict=True):
            results[index] = matrix.reshape(tensors[index].shape).to(tensors[index].dtype)
    return results


def newton_schulz_cost(shape: Sequence[int]) -> int:
    """Return about how many multiply-adds three iterations on a filter of this shape take."""
    rows, columns = sorted((shape[0], math.prod(shape[1:])))
    return 2 * rows**2 * columns + 9 * rows**3


def orthogonalise(matrices: Tensor, *, num_steps: int) -> Tensor:
    """Move all singular values close to 1 and keep the singular vectors, by Newton-Schulz iterations.

    matrices: (N, rows, columns). Returns the same shape, bfloat16 on CUDA. Other devices use float32, because bfloat16
    is slow or emulated there. The result need not be accurate.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices  # the smaller Gram matrix
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)  # singular values at most 1
    x = _iterate(x, num_steps) if x.is_cuda else _iterate_on_gram(x, num_steps)
    return x.mT if tall else x


def _iterate(x: Tensor, num_steps: int) -> Tensor:
    a, b, c = QUINTIC
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _iterate_on_gram(x: Tensor, num_steps: int) -> Tensor:
    """Do the same with half the operations for wide matrices; loses small singular values in bfloat16.

    A step multiplies x by p = a + b g + c g^2, where g is the Gram matrix; that of the next step is p g p.
    """
    a, b, c = QUINTIC
    gram = x @ x.mT
    identity = torch.eye(gram.shape[1], device=x.device)
    product = identity
    for step in range(num_steps):
        factor = a * identity + b * gram + c * gram @ gram
        product = factor @ product if step else factor
        if step < num_steps - 1:
            gram = factor @ gram @ factor
    return product @ x
