"""The file of a small sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


def small_space(root: Path, **changes: Any) -> dict[str, Any]:
    """The content of the file of a sweep whose trials take a second, on 540 images."""
    fixed = {
        "data.root": str(root),
        "data.batch_size": 32,
        "model.widths": [8, 8, 8],
        "training.max_epochs": 2,
        "training.accelerator": "cpu",
        "training.loggers": [],
        **changes.pop("fixed", {}),
    }
    return {
        "recipe": "quickstart",
        "trials": 2,
        "fixed": fixed,
        "space": {
            "optimization.learning_rate": {"low": 0.01, "high": 1.0, "log": True},
            "optimization.sam": ["none", "sam"],
            "optimization.sam_rho": {"low": 0.05, "high": 0.3, "when": {"optimization.sam": "sam"}},
        },
        **changes,
    }


@pytest.fixture
def write_space(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the file of a small sweep into an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: Any) -> Path:
        path = Path("small.yaml")
        path.write_text(yaml.safe_dump(small_space(tiny_data, **changes), sort_keys=False))
        return path

    return write
