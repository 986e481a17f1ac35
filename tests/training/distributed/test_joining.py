"""Which process has rank 0, and which numbers of processes are refused."""

from __future__ import annotations

import pytest

from cifar100.config import TrainingConfig
from cifar100.errors import UserError
from cifar100.process.launchers import is_rank_zero
from cifar100.training.distributed.joining import cluster_environment, join_processes

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_NAME": "train",
    "SLURM_NNODES": "2",
    "SLURM_STEP_ID": "0",
}
VARIABLES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SLURM, *VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "launcher", "first"),
    [
        ({}, "Lightning", True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, "Lightning", True),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, "TorchElastic", True),
        ({**TORCHRUN, "RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}, "TorchElastic", False),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, "TorchElastic", False),
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}, "SLURM", True),
        ({**SLURM, "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}, "SLURM", False),
        ({**SLURM, "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}, "SLURM", False),
        ({**SLURM, "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, "Lightning", True),
        ({**SLURM, **TORCHRUN, "SLURM_PROCID": "0", "RANK": "2", "LOCAL_RANK": "0"}, "TorchElastic", False),
    ],
)
def test_rank_zero_is_the_same_as_lightnings(
    variables: dict[str, str], launcher: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_rank_zero() is first
    environment = cluster_environment()
    assert type(environment).__name__ == ("SingleProcess" if launcher == "Lightning" else f"{launcher}Environment")
    if launcher == "Lightning":
        assert (environment.local_rank() == environment.node_rank() == 0) is first
    else:
        assert (environment.global_rank() == 0) is first


@pytest.mark.parametrize("started", [{**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, {**SLURM, "SLURM_PROCID": "0"}])
def test_another_number_of_processes_than_the_settings_say_is_refused(
    started: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    for devices, num_nodes in ((1, 1), (2, 1), (1, 2)):
        config = TrainingConfig(devices=devices, num_nodes=num_nodes)
        with (
            pytest.raises(UserError, match=r"has started 4 processes, but --training\.devices"),
            join_processes(config, accelerator="cpu"),
        ):
            pass


def test_tasks_that_lightning_cannot_place_get_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(UserError, match="ntasks-per-node"):
        cluster_environment()
