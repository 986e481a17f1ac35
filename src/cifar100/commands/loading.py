"""Say on a terminal what takes some seconds before the first output."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from cifar100.process.launchers import is_rank_zero
from cifar100.terminal import temporary_line


def loading() -> AbstractContextManager[None]:
    """On a terminal, say that PyTorch is being loaded, and erase the line afterwards."""
    return nullcontext() if "torch" in sys.modules else temporary_line("loading PyTorch ...")


def starting() -> AbstractContextManager[None]:
    """On a terminal, say that a run is being started, until its first line appears."""
    return temporary_line("starting the run ...") if is_rank_zero() else nullcontext()
