"""Only expected warnings are silenced."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from cifar100.training.reporting.silence import quiet


def test_a_first_step_that_the_gradient_scaler_skipped_is_no_warning() -> None:
    def step() -> None:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        LambdaLR(optimizer, lambda step: 1.0).step()

    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        step()
    with quiet(), warnings.catch_warnings(record=True) as caught:
        step()
    assert caught == []


def test_other_warnings_and_errors_remain() -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with quiet():
        assert logger.level == logging.ERROR
        with pytest.warns(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
    assert logger.level == before
