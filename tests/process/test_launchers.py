"""Which launcher has started a process, and what becomes of variables that are inherited, partial or nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import small_overrides

from cifar100.errors import UserError
from cifar100.process.launchers import check_launcher, is_rank_zero, launcher

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
SRUN = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS_PER_NODE": "4"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*TORCHRUN, *SRUN, "SLURM_JOB_NAME", "GROUP_RANK", "LOCAL_WORLD_SIZE", "JSM_NAMESPACE_RANK"]:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected", "first"),
    [
        ({}, None, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "MASTER_PORT": "x"}, None, True),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, None, True),  # salloc
        (BATCH, None, True),  # sbatch without srun
        ({**BATCH, "SLURM_NTASKS": "x"}, None, True),
        ({**SRUN, "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, None, True),  # srun --pty bash
        (SRUN, "srun", False),
        ({**SRUN, "SLURM_PROCID": "0"}, "srun", True),
        (TORCHRUN, "torchrun", False),
        ({**BATCH, **TORCHRUN, "RANK": "0"}, "torchrun", True),
        ({**BATCH, **TORCHRUN, "SLURM_PROCID": "x"}, "torchrun", False),
    ],
)
def test_the_launcher_is_recognised(
    variables: dict[str, str], expected: str | None, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_launcher()
    assert launcher() == expected
    assert is_rank_zero() is first


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RANK": "1"}, "RANK"),
        ({"RANK": "abc"}, "RANK"),
        ({"LOCAL_RANK": "3"}, "LOCAL_RANK"),
        ({"SLURM_PROCID": "abc"}, "SLURM_PROCID"),
        ({"SLURM_PROCID": "2"}, "SLURM_PROCID"),
        ({"JSM_NAMESPACE_RANK": "1"}, "JSM_NAMESPACE_RANK"),
        ({"TORCHELASTIC_RUN_ID": "none"}, "TORCHELASTIC_RUN_ID"),
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "0"}, "TORCHELASTIC_RUN_ID"),
        ({**TORCHRUN, "RANK": "2"}, "RANK"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK"),
        ({**TORCHRUN, "RANK": "1.0"}, "RANK"),
        ({**TORCHRUN, "RANK": ""}, "RANK"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "x"}, "LOCAL_WORLD_SIZE"),
        ({**TORCHRUN, "MASTER_PORT": "xyz"}, "MASTER_PORT"),
        ({**TORCHRUN, "MASTER_PORT": "70000"}, "MASTER_PORT"),
        ({**SRUN, "SLURM_PROCID": "abc"}, "SLURM_PROCID"),
        ({**SRUN, "SLURM_PROCID": "4"}, "SLURM_PROCID"),
        ({**SRUN, "SLURM_NTASKS": "4(x2)"}, "SLURM_NTASKS"),
        ({**SRUN, "SLURM_JOB_ID": "seven"}, "SLURM_JOB_ID"),
        ({**SRUN, "RANK": "first"}, "RANK"),
        ({name: value for name, value in SRUN.items() if name != "SLURM_LOCALID"}, "SLURM_NTASKS"),
    ],
)
def test_nonsense_is_named(variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"^the environment variable {named} is .*, or: unset {named}$") as error:
        check_launcher()
    assert "\n" not in str(error.value)
    assert error.value.only_here


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "code"),
    [
        (BATCH, 0),
        ({**BATCH, "SLURM_NTASKS": "x", "SLURM_JOB_ID": "abc"}, 0),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "MASTER_PORT": "x", "MASTER_ADDR": "nowhere"}, 0),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "1"}, 0),
        ({"SLURM_PROCID": "abc"}, 2),
        ({"RANK": "abc"}, 2),
        ({"TORCHELASTIC_RUN_ID": "none"}, 2),
        (TORCHRUN | {"RANK": "0"}, 2),
        (SRUN | {"SLURM_PROCID": "0"}, 2),
    ],
)
def test_a_whole_command(variables: dict[str, str], code: int, tiny_data: Path, tmp_path: Path) -> None:
    given = small_overrides(tiny_data, **{"training.max_epochs": 1})
    options = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    process = subprocess.run(
        [sys.executable, "-m", "cifar100", "train", "--recipe", "quickstart", *options],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stderr.count("\n")) == (code, int(code != 0)), process.stderr
