"""Weights & Biases. Without a login, or without an answer from the server, the run is kept offline in its folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import requests
from requests.exceptions import RequestException
from requests.utils import get_netrc_auth

from cifar100.files.user_paths import as_argument
from cifar100.foreign_text import reason
from cifar100.runs.folder import RunFolder
from cifar100.terminal import warn
from cifar100.training.reporting.tracking.tracker import Ending, remember_tracked_run, shown_name, tracked_run

SECONDS_TO_CONNECT = 10.0
SECONDS_TO_START = 20.0
SECONDS_TO_FINISH = 20.0

OFFLINE = ("offline", "dryrun", "disabled")
"""Modes of W&B that need no server."""

STEP = "step"
"""The axis of all metrics, so that a resumed run may repeat steps."""


class WandbService:
    """A run of Weights & Biases.

    Args:
        run: the run folder; `wandb/` in it holds what W&B keeps.
        project: name of the project there.
    """

    def __init__(self, run: RunFolder, *, project: str) -> None:
        self._folder = run
        self._project = project
        self._run: Any = None

    def load(self) -> None:
        """Import the package."""
        import wandb  # noqa: F401

    def open(self, facts: Mapping[str, str]) -> None:
        """Start or continue the run; offline if there is no login or no answer."""
        identity = tracked_run(self._folder, "wandb") or secrets.token_hex(4)
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_login() else "offline")
        try:
            if mode not in OFFLINE:
                _check_connection()
            self._start(identity, mode, facts)
        except Exception as error:  # of many kinds: no connection, no answer, a login that is refused
            if mode in OFFLINE:
                raise
            warn(f"W&B cannot be reached ({reason(error)}); the run is logged offline.")
            if not isinstance(error, RequestException):
                identity = secrets.token_hex(4)  # W&B keeps the other in use
            self._start(identity, "offline", facts)
        remember_tracked_run(self._folder, "wandb", identity)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def _start(self, identity: str, mode: str, facts: Mapping[str, str]) -> None:
        import wandb

        self._run = wandb.init(
            project=self._project,
            name=shown_name(self._folder),
            id=identity,
            dir=str(self._folder.path),
            config={"facts": dict(facts)},
            mode=cast(Any, mode),
            resume=None if mode in OFFLINE else "allow",
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH
            ),
        )

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the settings as `config`."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values of one optimizer step."""
        self._run.log({**metrics, STEP: step})

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Log the final figures in the summary."""
        self._run.summary.update(dict(figures))

    def log_files(self, files: Sequence[Path]) -> None:
        """Keep files as one artifact, `report-<id>`."""
        import wandb

        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self, ending: Ending) -> str:
        """End the run; return how to upload it if it is offline."""
        self._run.finish(exit_code=0 if ending == "finished" else 1)
        if not self._run.offline:
            return ""
        folder = as_argument(Path(self._run.dir).parent)
        return f"W&B has logged this run offline; to upload it: wandb login && wandb sync {folder}"


def _check_connection() -> None:
    """Ask the server for any answer: `wandb.init` retries for long.

    Raises:
        RequestException: there is none.
    """
    import wandb

    requests.head(wandb.setup().settings.base_url, timeout=SECONDS_TO_CONNECT, allow_redirects=False)


def _has_login() -> bool:
    """Return whether W&B finds a login without asking for one."""
    import wandb

    settings = wandb.setup().settings
    return bool(settings.api_key or settings.identity_token_file or get_netrc_auth(settings.base_url))
