"""Skip tests of timm where it cannot be imported: it needs a torchvision that fits torch."""

from __future__ import annotations

import pytest


def skip_without_timm() -> None:
    """Skip a module of tests, with the reason."""
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:  # torchvision raises both beside a torch of another version
        pytest.skip(f"timm cannot be imported: {str(error).splitlines()[0]}", allow_module_level=True)


TINY = "timm/test_efficientnet"
"""A network of timm with 0.4 M parameters, made for tests; its images have 160 pixels."""

TINY_TRANSFORMER = "timm/test_vit"
"""The same for vision transformers, which are built for one size of images."""
