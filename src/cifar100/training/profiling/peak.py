"""The peak of a machine: the operations per second of a large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from cifar100.devices import wait_for

REPEATS = 5


class MatrixProduct:
    """A product of two square matrices: the maximum operations per second of a machine.

    As `torch.mm` or as a convolution of 1x1 pixels, whichever is faster here. They are computed by different libraries:
    on an AMD EPYC with AVX-512 the first made 220 GFLOP/s and the second 440. The global random state is not used.

    Args:
        device: where to multiply.
        dtype: of the matrices.
        side: of the matrices, a multiple of 8; None: 2048 on a CPU, 8192 elsewhere.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, *, side: int | None = None) -> None:
        self.side = side = side or (2048 if device.type == "cpu" else 8192)
        self.count = 2 if device.type == "cpu" else 20
        self.dtype = dtype
        self.device = device
        self.matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        self.images = self.matrix.view(1, side // 8, 8, side).permute(0, 3, 1, 2)  # channels_last: (1, side, side/8, 8)
        self.filters = self.matrix.view(side, side, 1, 1)
        self.form: Callable[[], Tensor] = self._plain
        self.form = max((self._plain, self._convolution), key=self.flops_per_second)

    @property
    def flops(self) -> int:
        """Operations of a call."""
        return 2 * self.side**3 * self.count

    @property
    def description(self) -> str:
        """Return what is measured, such as `float32 product of 2048 x 2048 matrices as torch.mm`."""
        form = "as torch.mm" if self.form == self._plain else "as a 1x1 convolution"
        return f"{str(self.dtype).removeprefix('torch.')} product of {self.side} x {self.side} matrices {form}"

    def __call__(self) -> None:
        """Multiply, and wait for it."""
        with torch.no_grad():
            for _ in range(self.count):
                self.form()
        wait_for(self.device)

    def flops_per_second(self, form: Callable[[], Tensor] | None = None) -> float:
        """Measure once warm; in the form that is used, if none is given."""
        self.form = form or self.form
        self()
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            self()
            seconds.append(time.perf_counter() - started)
        return self.flops / median(seconds)

    def _plain(self) -> Tensor:
        return torch.mm(self.matrix, self.matrix)

    def _convolution(self) -> Tensor:
        return F.conv2d(self.images, self.filters)
