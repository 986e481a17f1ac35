from __future__ import annotations

import pytest

from cifar100.errors import UserError
from cifar100.process.packages import need


def test_a_package_that_is_installed_is_silent() -> None:
    need("torch", to="train", extra="export")


def test_a_missing_package_is_one_line_with_the_command_that_installs_it() -> None:
    with pytest.raises(UserError) as raised:
        need("torch", "no_such_package", to="fly", extra="wings")
    assert str(raised.value) == (
        "the package no_such_package is not installed, but it is needed to fly; install it: "
        'pip install "cifar100[wings]"'
    )
