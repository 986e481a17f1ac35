"""Say that PyTorch is being loaded."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from cifar100.terminal import temporary_line


def loading() -> AbstractContextManager[None]:
    """On a terminal, say that PyTorch is being loaded, and erase the line afterwards."""
    return nullcontext() if "torch" in sys.modules else temporary_line("loading PyTorch ...")
