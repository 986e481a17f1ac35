"""MLflow: a tracking server, or a database in the working directory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cifar100.runs.folder import RunFolder
from cifar100.training.reporting.tracking.tracker import Ending, remember_tracked_run, shown_name, tracked_run

DATABASE, ARTIFACTS = Path("mlflow.db"), Path("mlartifacts")
"""The local store, below the working directory."""

MAX_PARAMETERS = 100
"""MLflow takes at most so many in one call."""

MAX_LENGTH = 500
"""Characters of a parameter's value that every server takes."""

ENVIRONMENT = {
    # The defaults, 120 s and 7 retries, are 20 minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""What MLflow reads; values that the user has set are kept."""

_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflowService:
    """A run of MLflow.

    Args:
        run: the run folder.
        uri: of the tracking server or store; None: `MLFLOW_TRACKING_URI`, else a local database.
        experiment: name of the experiment there.
    """

    def __init__(self, run: RunFolder, *, uri: str | None, experiment: str) -> None:
        self._folder = run
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._experiment = experiment
        self._client: Any = None
        self._run = ""
        self._is_continued = False

    def load(self) -> None:
        """Import the package, and what it imports later."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow  # noqa: F401

    def open(self, facts: Mapping[str, str]) -> None:
        """Start or continue the run."""
        from mlflow import MlflowClient

        artifacts = None
        if self._uri is None:
            self._uri = f"sqlite:///{DATABASE.absolute()}"
            artifacts = ARTIFACTS.absolute().as_uri()
        self._client = MlflowClient(self._uri)
        earlier = tracked_run(self._folder, "mlflow")
        if earlier is not None:
            self._client.update_run(earlier, status="RUNNING")
            self._run, self._is_continued = earlier, True
        else:
            found = self._client.get_experiment_by_name(self._experiment)
            number = found.experiment_id if found else self._client.create_experiment(self._experiment, artifacts)
            self._run = self._client.create_run(number, run_name=shown_name(self._folder)).info.run_id
            remember_tracked_run(self._folder, "mlflow", self._run)
        for name, value in facts.items():
            tag = "mlflow.source.git.commit" if name == "git_commit" else name
            self._client.set_tag(self._run, tag, value)

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the settings as parameters; those of a continued run cannot change there."""
        if self._is_continued:
            return
        from mlflow.entities import Param

        values = [Param(name, str(value)[:MAX_LENGTH]) for name, value in settings.items()]
        for start in range(0, len(values), MAX_PARAMETERS):
            self._client.log_batch(self._run, params=values[start : start + MAX_PARAMETERS])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values of one optimizer step."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Log the final figures as metrics."""
        self.log_metrics(figures, 0)

    def log_files(self, files: Sequence[Path]) -> None:
        """Keep files as artifacts."""
        for file in files:
            self._client.log_artifact(self._run, str(file))

    def close(self, ending: Ending) -> str:
        """Set the status."""
        self._client.set_terminated(self._run, _STATUS[ending])
        return ""
