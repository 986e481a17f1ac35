"""Names of networks on the Hugging Face Hub: `hf:USER/NAME`, or `hf:USER/NAME@REVISION`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike

from cifar100.errors import UserError
from cifar100.foreign_text import printable

PREFIX = "hf:"

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"


@dataclass(frozen=True)
class HubName:
    """A repository on the Hub, perhaps at a revision."""

    repository: str
    """`USER/NAME`; USER may be an organisation."""

    revision: str | None = None
    """A branch, tag or commit; None: the default branch."""

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def hub_name(argument: str | PathLike[str]) -> HubName | None:
    """Return the repository that an argument names; None if it does not begin with `hf:`.

    Raises:
        UserError: it begins with `hf:`, but names no repository.
    """
    if not isinstance(argument, str) or not argument.startswith(PREFIX):
        return None
    found = re.fullmatch(rf"hf:({_PART}/{_PART})(?:@([\w./-]{{1,100}}))?", argument, flags=re.ASCII)
    if found is None:
        raise UserError(
            f"{printable(argument, max_length=200)!r} names no repository; expected hf:USER/NAME or "
            "hf:USER/NAME@REVISION, such as hf:ada/cifar100-resnet18."
        )
    return HubName(found[1], found[2])
