"""The packages of the extra `export`, which not every installation has."""

from __future__ import annotations

from importlib.util import find_spec

from cifar100.errors import UserError


def need(*packages: str, to: str) -> None:
    """Check that packages of the extra `export` are installed.

    Raises:
        UserError: one is missing; says how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UserError(
                f"the package {package} is not installed, but it is needed to {to}; install it: "
                'pip install "cifar100[export]"'
            )
