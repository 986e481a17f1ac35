"""Let Lightning write and read checkpoints through `cifar100.runs.checkpoints`."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from cifar100.files.checksums import sums_file
from cifar100.runs.checkpoints import read_checkpoint, write_checkpoint
from cifar100.runs.folder import LAST, PREVIOUS

IN_MEMORY = "in memory"
"""As `storage_options`: keep the checkpoint in memory, for `SafeCheckpointIO.write_kept`."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Calls `write_checkpoint` and `read_checkpoint`. Can keep one checkpoint in memory until it is needed.

    Lightning's own plugin copies from the system's temporary folder, which can leave half a file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[dict[str, Any], Path] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; keep the one before it as `previous.ckpt`."""
        self._kept = None
        if storage_options == IN_MEMORY:
            self._kept = _copy_on_cpu(checkpoint), Path(path)
        else:
            _write(checkpoint, Path(path))

    def write_kept(self) -> None:
        """Write the checkpoint that is kept in memory, if any."""
        kept, self._kept = self._kept, None
        if kept is not None:
            _write(*kept)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; see `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its sha256."""
        super().remove_checkpoint(path)
        sums_file(Path(path)).unlink(missing_ok=True)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    write_checkpoint(checkpoint, path, previous=path.with_name(PREVIOUS) if path.name == LAST else None)


def _copy_on_cpu(value: Any) -> Any:
    """Return a copy that later training steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _copy_on_cpu(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(_copy_on_cpu(item) for item in value)
    return deepcopy(value)
