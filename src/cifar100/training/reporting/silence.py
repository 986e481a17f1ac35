"""Silence the messages of Lightning that do not concern the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

EXPECTED_WARNINGS = (
    "Be aware that when using `ckpt_path`",  # callbacks of the first part of a run that are not given again
    ".*LeafSpec.* is deprecated",  # Lightning 2.6.6 under torch 2.13
    r".*torch\.jit\.trace.* is (deprecated|not supported)",  # TensorBoard's graph
    "The .grad attribute of a Tensor that is not a leaf",  # torch's compiler, of the moved weights of SAM
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "Detected call of `lr_scheduler.step",  # the gradient scaler of 16-mixed skips the first steps
    "Total length of `list` across ranks is zero",  # no validation images
)
"""Warnings that the user cannot act on, or has asked for."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's messages and expected warnings; errors remain."""
    # Imported here, so that importing this module does not load Lightning.
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
