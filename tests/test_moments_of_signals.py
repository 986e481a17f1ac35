"""Whenever a signal arrives, the command ends with its status and one line, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from send_at import send_at
from small_runs import small_overrides

from cifar100 import commands
from cifar100.__main__ import run_until_stopped
from cifar100.runs.folder import RunFolder, run_folders
from cifar100.runs.status import read_status
from cifar100.settings import load_config

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

PROGRAM = Path(__file__).parent / "support" / "send_at.py"

Moment = tuple[str, str, int]
"""End of the path of a file, qualified name of a function in it, and which call of it."""

LOADING: list[Moment] = [
    ("cifar100/cli/main.py", "<module>", 1),
    ("cifar100/settings.py", "<module>", 1),
    ("torch/__init__.py", "<module>", 1),
    ("torch/nn/modules/conv.py", "<module>", 1),
    ("torch/_tensor.py", "<module>", 1),
    ("lightning/pytorch/trainer/trainer.py", "<module>", 1),
    ("cifar100/training/train.py", "<module>", 1),
]
TRAINING: list[Moment] = [
    ("cifar100/training/train.py", "start_run", 1),
    ("cifar100/data/folder/splits.py", "save_split", 1),
    ("cifar100/runs/folder.py", "create_run_folder", 1),
    ("cifar100/runs/status.py", "occupied", 1),
    ("cifar100/training/experiment.py", "assemble", 1),
    ("cifar100/training/reporting/announcements.py", "announce_run", 1),
    ("lightning/pytorch/trainer/trainer.py", "Trainer._run", 1),
    ("cifar100/training/lit_module.py", "ImageClassifier.configure_optimizers", 1),
    ("cifar100/training/lit_module.py", "ImageClassifier.training_step", 1),
    ("cifar100/training/lit_module.py", "ImageClassifier.training_step", 20),
    ("cifar100/training/lit_module.py", "ImageClassifier.validation_step", 1),
    ("cifar100/training/lit_module.py", "ImageClassifier.on_validation_epoch_end", 3),
    ("cifar100/runs/history.py", "History.write", 2),
    ("lightning/fabric/loggers/tensorboard.py", "TensorBoardLogger.log_metrics", 2),
]
SAVING: list[Moment] = [
    ("cifar100/runs/checkpoints.py", "write_checkpoint", 2),
    ("cifar100/files/atomic.py", "sync_folder", 12),
]
AFTER_THE_END: list[Moment] = [
    ("cifar100/training/recovery/saving.py", "StateSaver.on_train_end", 1),
    ("cifar100/training/reporting/announcements.py", "announce_result", 1),
    ("cifar100/training/reporting/run_log.py", "RunLog.close", 1),
]
AFTER_THE_LAST_SAVE: list[Moment] = [
    ("torch/utils/data/dataloader.py", "_MultiProcessingDataLoaderIter._shutdown_workers", 1),
]
IMAGES: list[Moment] = [
    ("cifar100/data/loading/image_loader.py", "ImageLoader.__init__", 1),
    ("torch/utils/data/dataloader.py", "_MultiProcessingDataLoaderIter.__init__", 1),
    ("torch/utils/data/dataloader.py", "_MultiProcessingDataLoaderIter._next_data", 3),
    *AFTER_THE_LAST_SAVE,
]
RANGE_TEST: list[Moment] = [
    ("cifar100/training/lr_finder/range_test.py", "range_test", 1),
    ("cifar100/training/lr_finder/range_test.py", "RangeTest.on_train_batch_end", 7),
    ("cifar100/training/lr_finder/suggestions.py", "suggest", 1),
    ("cifar100/training/lr_finder/plot.py", "plot_result", 1),
]
RESULTS: dict[str, list[Moment]] = {
    "evaluate": [
        ("cifar100/results/evaluate.py", "<module>", 1),
        ("cifar100/runs/trained_network.py", "load_trained", 1),
        ("cifar100/models/fast_net.py", "FastNet.forward", 1),
        ("cifar100/files/atomic.py", "write_json", 1),
    ],
    "predict": [
        ("cifar100/data/folder/image_files.py", "read_image", 1),
        ("cifar100/cli/groups/prediction.py", "show_predictions", 1),
    ],
}
PREPARING: list[Moment] = [
    ("cifar100/data/sources/shapes100.py", "draw", 1),
    ("cifar100/data/folder/release_images.py", "prepare_release", 1),
    ("cifar100/data/dataset_info.py", "write_info", 1),
    ("cifar100/files/atomic.py", "open_new", 3),
]

CASES = (
    [("train", moment, {}) for moment in (*LOADING, *TRAINING, *AFTER_THE_END)]
    + [("train", moment, {"data.pipeline": "images", "data.num_workers": 2}) for moment in IMAGES]
    + [("train", moment, {"training.save_every_minutes": 0}) for moment in SAVING]
    + [("train", moment, {"optimization.learning_rate": "auto"}) for moment in RANGE_TEST]
    + [("find-lr", moment, {}) for moment in RANGE_TEST]
    + [(command, moment, {}) for command, moments in RESULTS.items() for moment in moments]
    + [("prepare", moment, {}) for moment in PREPARING]
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def finished_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = commands.train(
            load_config("quickstart", overrides=small_overrides(tiny_data, **{"training.max_epochs": 1}))
        )
    return RunFolder(folder / run.path)


def arguments(command: str, changes: dict[str, Any], tiny_data: Path, finished_run: RunFolder) -> list[str]:
    if command == "evaluate":
        return [command, str(finished_run.path)]
    if command == "predict":
        return [
            command,
            str(finished_run.path),
            *map(str, sorted((tiny_data / "cifar100_images" / "test").glob("*"))[:2]),
        ]
    if command == "prepare":
        return [command, "--source", "generated", "--root", "data"]
    given = {**small_overrides(tiny_data), **changes}
    return [
        command,
        "--recipe",
        "quickstart",
        *(part for key, value in given.items() for part in (f"--{key}", str(value))),
    ]


def assert_ended_in_order(signum: int, moment: Moment, code: int, said: str) -> None:
    lines = [line for line in said.splitlines() if line]
    assert code == 128 + signum, said
    assert [line for line in lines if "interrupted" in line] == lines[-1:], said
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    assert not list(Path.cwd().rglob("*.partial"))
    statuses = [read_status(run)["status"] for run in run_folders()]
    assert statuses in ([], ["finished" if moment in AFTER_THE_END + AFTER_THE_LAST_SAVE else "stopped"])


@pytest.mark.parametrize("number", [15, 17, 25])
def test_a_signal_in_this_process(
    number: int,
    tiny_data: Path,
    finished_run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, moment, changes = CASES[number]
    signum = SIGNALS[number % 3]
    monkeypatch.setattr(sys, "argv", ["cifar100", *arguments(command, changes, tiny_data, finished_run)])
    handlers = [signal.getsignal(each) for each in SIGNALS]
    capsys.readouterr()
    send_at(signum, *moment)
    with pytest.raises(SystemExit) as ended:
        run_until_stopped()
    assert_ended_in_order(signum, moment, int(ended.value.code or 0), capsys.readouterr().err)
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_signal_at_any_moment(number: int, tiny_data: Path, finished_run: RunFolder, tmp_path: Path) -> None:
    command, moment, changes = CASES[number]
    signum = SIGNALS[number % 3]
    before = set(Path("/dev/shm").glob("torch_*"))
    program = [sys.executable, str(PROGRAM), str(int(signum)), *map(str, moment)]
    mark = f"{tmp_path}/mark"
    process = subprocess.run(
        [*program, *arguments(command, changes, tiny_data, finished_run)],
        env={**os.environ, "TEST_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert_ended_in_order(signum, moment, process.returncode, process.stderr)
    assert not processes_with(mark)
    assert not set(Path("/dev/shm").glob("torch_*")) - before


def processes_with(mark: str) -> list[str]:
    """Processes that have inherited an environment variable with this value."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:
            continue
    return found
