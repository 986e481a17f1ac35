"""The optional packages that this process can import. Each belongs to an extra of this program."""

from __future__ import annotations

from importlib.util import find_spec

from cifar100.errors import UserError
from cifar100.process.started import how_to_install


def need(*packages: str, to: str, extra: str) -> None:
    """Check that packages of an extra are installed.

    Args:
        packages: their names when they are imported.
        to: what they are needed for, such as `export to ONNX`.
        extra: name of the extra.

    Raises:
        UserError: one is missing; says how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UserError(
                f"the package {package} is not installed, but it is needed to {to}; install it: {how_to_install(extra)}"
            )
