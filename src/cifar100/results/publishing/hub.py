"""Upload to the Hugging Face Hub, and download from it. Its client finds the token in its own store; we never see it.

`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar100 import __version__
from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.process.packages import need
from cifar100.results.exported.untrusted_onnx import MAX_FILE_BYTES
from cifar100.results.publishing.hub_name import HubName
from cifar100.terminal import is_terminal, warn

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MODEL_FILE = "model.onnx"
"""The only file that is downloaded: it holds the network, its classes and its card, and its content is checked."""

SECONDS_TO_WAIT = 10
LOG_IN = "log in: hf auth login"


def check_hub() -> None:
    """Check that the extra `hub` is installed.

    Raises:
        UserError: says how to install it.
    """
    need("huggingface_hub", to="use hf:USER/NAME", extra="hub")


def check_logged_in() -> None:
    """Check that the client has a token, before anything slow.

    Raises:
        UserError: it has none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(f"found no token for the Hugging Face Hub, which an upload needs; {LOG_IN}")


def download(name: HubName) -> Path:
    """Return the path of a repository's ONNX file in the cache of the client, downloaded if it is not there yet.

    Without a connection, the copy in the cache is used, with a warning.

    Raises:
        UserError: there is no such repository or file, it is too large, or the Hub cannot be reached.
    """
    check_hub()
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    api = _api()
    try:
        info = api.model_info(name.repository, revision=name.revision, files_metadata=True, timeout=SECONDS_TO_WAIT)
        sizes = {file.rfilename: file.size for file in info.siblings or []}
        _check_size(name, sizes)
        # Not by its commit: the client's cache finds it without a connection by the name of the branch only.
        return Path(api.hf_hub_download(name.repository, MODEL_FILE, revision=name.revision))
    except UserError:
        raise
    except RevisionNotFoundError as error:
        raise UserError(f"{name} does not exist: {name.repository} has no such branch, tag or commit.") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{name} is not on {api.endpoint}, or you have no access to it; check the name, or {LOG_IN}"
        ) from error
    except Exception as error:  # the client and the HTTP library raise many kinds
        return _cached(name, error, api)


def upload(folder: Path, name: HubName, *, private: bool) -> str:
    """Upload all files of a folder as one commit, and return the address of the repository, which is created if needed.

    private: of a new repository. Otherwise the account's setting decides, which is public by default.

    Raises:
        UserError: the Hub refuses, cannot be reached, or has a public repository of this name although `private`.
    """
    api = _api()
    try:
        address = api.create_repo(name.repository, private=private or None, exist_ok=True)
        if private and not api.model_info(name.repository, timeout=SECONDS_TO_WAIT).private:
            raise UserError(f"{name} already exists and is public; make it private in its settings, or choose another.")
        api.upload_folder(
            folder_path=folder,
            repo_id=name.repository,
            revision=name.revision,
            commit_message=f"Written by cifar100 {__version__}",
        )
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(
            f"{name} cannot be uploaded to {api.endpoint} ({reason(error)}); check the name and your rights, and "
            f"{LOG_IN}"
        ) from error
    return str(address)


def _api() -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not is_terminal(sys.stderr):
        disable_progress_bars()
    return HfApi(library_name="cifar100", library_version=__version__)


def _check_size(name: HubName, sizes: dict[str, Any]) -> None:
    if MODEL_FILE not in sizes:
        raise UserError(
            f"{name} has no {MODEL_FILE}; only networks uploaded by cifar100 publish can be used from the Hub."
        )
    size = sizes[MODEL_FILE]
    if not isinstance(size, int) or size > MAX_FILE_BYTES:
        found = f"{size:,} bytes" if isinstance(size, int) else "an unknown size"
        raise UserError(f"{MODEL_FILE} of {name} has {found}, expected at most {MAX_FILE_BYTES:,}; it was not loaded.")


def _cached(name: HubName, error: Exception, api: HfApi) -> Path:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name.repository, MODEL_FILE, revision=name.revision)
    if not isinstance(cached, str):
        raise UserError(
            f"{name} cannot be downloaded from {api.endpoint} ({reason(error)}); check the connection and try again."
        ) from error
    warn(f"{name} cannot be checked for a newer version ({reason(error)}); using the copy of the last download")
    return Path(cached)
