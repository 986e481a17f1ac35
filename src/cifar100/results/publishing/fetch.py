"""Find the file of a published network: on the Hub, or in a folder that `publish` has written."""

from __future__ import annotations

from os import PathLike

from cifar100.files.user_paths import user_path
from cifar100.results.publishing.hub import MODEL_FILE, download
from cifar100.results.publishing.hub_name import hub_name


def fetched(run: str | PathLike[str]) -> str | PathLike[str]:
    """Return the path of the ONNX file of a published network, `hf:USER/NAME` or a folder; anything else unchanged.

    Raises:
        UserError: it is on the Hub and cannot be downloaded.
    """
    if (name := hub_name(run)) is not None:
        return download(name)
    path = user_path(run)
    is_published = (path / MODEL_FILE).is_file() and not (path / "config.yaml").is_file()
    return path / MODEL_FILE if is_published else run
