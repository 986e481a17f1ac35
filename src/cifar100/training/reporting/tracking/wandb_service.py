"""Weights & Biases. Without a login, or without an answer from the server, the run is kept offline in its folder."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from requests.utils import get_netrc_auth

from cifar100.foreign_text import reason
from cifar100.runs.folder import RunFolder
from cifar100.terminal import warn
from cifar100.training.reporting.tracking.tracker import Ending, remember_tracked_run, tracked_run

SECONDS_TO_START = 20.0
SECONDS_TO_FINISH = 20.0

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

    def open(self, facts: Mapping[str, str]) -> None:
        """Start or continue the run; offline if there is no login or no answer."""
        import wandb

        identity = tracked_run(self._folder, "wandb") or secrets.token_hex(4)
        remember_tracked_run(self._folder, "wandb", identity)
        options: dict[str, Any] = {
            "project": self._project,
            "name": self._folder.name,
            "id": identity,
            "dir": str(self._folder.path),
            "config": {"facts": dict(facts)},
            "settings": wandb.Settings(
                silent=True, console="off", init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH
            ),
        }
        chosen = os.environ.get("WANDB_MODE")
        if chosen is None and not _has_login():
            chosen = "offline"
        if chosen in ("offline", "dryrun", "disabled"):
            self._run = wandb.init(mode="disabled" if chosen == "disabled" else "offline", **options)
        else:
            try:
                self._run = wandb.init(resume="allow", **options)
            except Exception as error:  # of many kinds: no connection, no answer, a login that is refused
                warn(f"W&B is not reached ({reason(error)}); the run is logged offline.")
                self._run = wandb.init(mode="offline", **options)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

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
        folder = shlex.quote(str(Path(self._run.dir).parent))
        return f"W&B has logged this run offline; to upload it: wandb login && wandb sync {folder}"


def _has_login() -> bool:
    """Return whether W&B finds a login without asking for one."""
    import wandb

    settings = wandb.setup().settings
    return bool(settings.api_key or settings.identity_token_file or get_netrc_auth(settings.base_url))
