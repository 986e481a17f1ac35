"""Let Lightning write and read checkpoints through `cifar100.runs.checkpoints`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from cifar100.runs.checkpoints import LAST, PREVIOUS, read_checkpoint, sums_file, write_checkpoint


class SafeCheckpointIO(TorchCheckpointIO):
    """Calls `write_checkpoint` and `read_checkpoint`.

    Lightning's own plugin copies from the system's temporary folder, which can leave half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; keep the one before it as `previous.ckpt`."""
        path = Path(path)
        write_checkpoint(checkpoint, path, previous=path.with_name(PREVIOUS) if path.name == LAST else None)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; see `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its sha256."""
        super().remove_checkpoint(path)
        sums_file(Path(path)).unlink(missing_ok=True)
