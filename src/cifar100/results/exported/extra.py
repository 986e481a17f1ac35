"""The packages of the extra `export`, which not every installation has."""

from __future__ import annotations

from cifar100.process import packages


def need(*names: str, to: str) -> None:
    """Check that packages of the extra `export` are installed.

    Raises:
        UserError: one is missing; says how to install it.
    """
    packages.need(*names, to=to, extra="export")
