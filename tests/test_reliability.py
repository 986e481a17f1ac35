"""What docs/reliability.md promises: a run can be stopped or killed at any moment, and ends as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import failing_files
import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from shells import shell as posix_shell
from small_runs import SMALL_BATCHES, AtStep, assert_same_run, epochs, send, small_overrides, state, stop_at, without
from torch import nn

from cifar100 import commands
from cifar100.__main__ import run_until_stopped
from cifar100.config import Config
from cifar100.errors import Diverged, Stopped, UserError
from cifar100.runs.folder import RunFolder
from cifar100.runs.listing import list_runs
from cifar100.runs.status import occupied, read_status
from cifar100.settings import load_config
from cifar100.training.optimization.ema import WeightAveraging
from cifar100.training.recovery.saving import StateSaver
from cifar100.training.reporting.silence import quiet

MIXED = {
    "augmentation.flip": "alternating",
    "augmentation.mixup_probability": 0.3,
    "augmentation.cutmix_probability": 0.3,
    "augmentation.random_erasing_probability": 0.5,
    "augmentation.policy": "trivial_augment",
    "training.resolutions": [16, 20, 32],
    "training.resolution_changes": [0.4, 0.8],
    "optimization.optimizer": "muon",
    "optimization.ema_decay": 0.9,
    "optimization.ema_final_decay": 0.99,
    "optimization.ema_start": 0.2,
    "optimization.sam": "friendly",
    "optimization.sam_batch_size": 5,
}


WHOLE_EPOCHS = {"data.batch_size": 32, "training.limit_train_batches": None}
"""All 500 training images in 15 steps: the loader itself comes to its end."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "UV_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def overrides(tiny_data: Path) -> dict[str, Any]:
    return small_overrides(tiny_data, **SMALL_BATCHES)


@pytest.fixture
def settings(overrides: dict[str, Any]) -> Callable[..., Config]:
    return lambda **changes: load_config("quickstart", overrides={**overrides, **changes})


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An undisturbed run of `settings()`; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = load_config("quickstart", overrides=small_overrides(tiny_data, **SMALL_BATCHES))
        run = commands.train(config, experiment="whole")
    return RunFolder(folder / run.path)


@pytest.fixture
def whole(finished: RunFolder, in_an_empty_folder: None) -> RunFolder:
    """A copy of it in `logs/whole`."""
    return RunFolder(Path(shutil.copytree(finished.path, "logs/whole")))


def scalars(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize(
    ("special", "steps"),
    [
        (WHOLE_EPOCHS, [1, 7, 15, 16, 44]),
        (MIXED, [20]),
        ({"data.pipeline": "images", "data.num_workers": 0}, [20]),
        ({"data.pipeline": "images", "data.num_workers": 2}, [20]),
        ({"optimization.learning_rate": "auto", "data.batch_size": 32}, [20]),
        ({"data.validation_fraction": 0, "training.max_epochs": 2.5}, [20]),
    ],
    ids=["packed", "mixed", "images", "workers", "auto", "all-images"],
)
@pytest.mark.usefixtures("short_range_tests")
def test_a_run_stopped_at_any_step_ends_as_the_undisturbed_one(
    special: dict[str, Any], steps: list[int], settings: Callable[..., Config]
) -> None:
    config = settings(**special)
    whole = commands.train(config, experiment="whole")
    for step in steps:
        broken = stop_at(step, config, name=f"broken{step}")
        assert state(broken)["global_step"] == step
        assert read_status(broken)["status"] == "stopped"
        assert_same_run(whole, commands.train(resume=broken.name))


def test_a_run_stopped_at_every_few_steps_leaves_the_same_curves(
    settings: Callable[..., Config], whole: RunFolder
) -> None:
    stop_at(4, settings(), name="broken")
    for step in (9, 15, 22, 37):
        with pytest.raises(Stopped):
            commands.train(resume="broken", callbacks=[AtStep(step, send(signal.SIGINT))])
    broken = commands.train(resume="broken")
    assert_same_run(whole, broken)
    assert scalars(whole) == scalars(broken)


def test_dropout_resumes_where_it_was(settings: Callable[..., Config]) -> None:
    def network(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Dropout(0.2), nn.Conv2d(3, 8, 3, stride=2), nn.Flatten(), nn.Linear(1800, num_classes))

    config = without(settings(**{"optimization.learning_rate": 0.01}), "model")
    whole = commands.train(config, experiment="whole", network=network)
    broken = stop_at(20, config, name="broken", network=network)
    assert_same_run(whole, commands.train(resume=broken.name, network=network))


def test_the_state_is_saved_mid_epoch(settings: Callable[..., Config], whole: RunFolder) -> None:
    class CrashError(Exception):
        pass

    def crash() -> None:
        raise CrashError

    config = settings(**{"training.save_every_minutes": 0})
    with pytest.raises(CrashError):
        commands.train(config, experiment="broken", callbacks=[AtStep(38, crash)])
    broken = RunFolder(Path("logs/broken"))
    assert state(broken)["global_step"] == 37
    assert read_status(broken)["status"] == "failed"
    assert_same_run(whole, commands.train(resume="broken"))


def test_a_damaged_last_checkpoint_is_passed_over(
    settings: Callable[..., Config], whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = stop_at(20, settings(**{"training.save_every_minutes": 0}), name="broken")
    (broken.checkpoints / "last.ckpt").write_bytes(b"")
    capsys.readouterr()
    assert_same_run(whole, commands.train(resume="broken"))
    assert "Using previous.ckpt instead." in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_the_command_to_go_on(
    signum: int, status: int, overrides: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    handler = signal.getsignal(signum)
    plain = commands.train

    @wraps(plain)
    def train(*given: Any, **options: Any) -> RunFolder:
        return plain(*given, **options, callbacks=[AtStep(5, send(signum))])

    monkeypatch.setattr(commands, "train", train)
    monkeypatch.setattr(sys, "argv", ["cifar100", "train", "--recipe", "quickstart", *options(overrides)])
    with pytest.raises(SystemExit) as ended:
        run_until_stopped()
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said == "cifar100: interrupted. Saved after step 5. Resume with: cifar100 train --resume experiment1\n"
    assert signal.getsignal(signum) is handler


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_training_whose_pipe_is_closed_goes_on_and_says_nothing(overrides: dict[str, Any]) -> None:
    command = (
        f"{sys.executable} -m cifar100 train --recipe quickstart --experiment alone {shlex.join(options(overrides))}"
    )
    shell = f"{command} 2> /dev/full | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}"
    completed = subprocess.run([posix_shell(), "-c", shell], env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert completed.returncode == 0
    assert read_status(RunFolder(Path("logs/alone")))["status"] == "finished"


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_a_training_whose_terminal_is_gone_goes_on(overrides: dict[str, Any]) -> None:
    ours, its = os.openpty()
    command = [sys.executable, "-m", "cifar100", "train", "--recipe", "quickstart", "--experiment", "alone"]
    process = subprocess.Popen([*command, *options(overrides)], stdin=its, stdout=its, stderr=its)
    os.close(its)
    os.read(ours, 1)  # the first character of the first line
    os.close(ours)  # from now on every write fails with EIO
    assert process.wait() == 0
    assert read_status(RunFolder(Path("logs/alone")))["status"] == "finished"


def options(given: dict[str, Any]) -> list[str]:
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def test_a_second_signal_stops_at_once(settings: Callable[..., Config]) -> None:
    def twice() -> None:
        send(signal.SIGINT)()
        send(signal.SIGINT)()
        pytest.fail("still here")

    with pytest.raises(Stopped, match="Resume with: cifar100 train --resume experiment1") as stopped:
        commands.train(settings(), callbacks=[AtStep(5, twice)])
    assert stopped.value.exit_status == 130
    assert not (Path("logs/experiment1") / "lightning_checkpoints").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="SLURM runs on POSIX")
def test_slurm_gets_its_job_back_and_the_job_its_run(
    settings: Callable[..., Config], whole: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(Stopped, match="SLURM requeued job 77"):
        commands.train(settings(), experiment="job", callbacks=[AtStep(20, send(signal.SIGUSR1))])
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert_same_run(whole, commands.train(settings(), experiment="job"))  # the same command again


def factor_of_one_cycle(config: Config, step: int, total_steps: int = 45) -> float:
    """The one-cycle policy by torch's own scheduler: the factor of step `step`, counted from 0."""
    given = config.optimization
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=total_steps,
        pct_start=given.pct_start,
        div_factor=given.div_factor,
        final_div_factor=given.final_div_factor,
        cycle_momentum=False,
    )
    for _ in range(step):
        optimizer.step()
        scheduler.step()
    return float(optimizer.param_groups[0]["lr"])


def test_the_recorded_learning_rate_is_that_of_the_last_step_of_the_epoch(settings: Callable[..., Config]) -> None:
    config = settings()
    recorded = [epoch["learning_rate"] for epoch in epochs(commands.train(config))]
    expected = [config.optimization.learning_rate * factor_of_one_cycle(config, step) for step in (14, 29, 44)]
    assert recorded == pytest.approx(expected, rel=1e-9)


def test_a_diverged_run_keeps_its_last_good_checkpoint(settings: Callable[..., Config]) -> None:
    losses = 0

    def broken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal losses
        losses += 1
        return nn.functional.cross_entropy(logits, labels) * (float("nan") if losses > 20 else 1.0)

    config = settings(**{"training.save_every_minutes": 0})
    with pytest.raises(Diverged, match=r"not finite at step 21, at a learning rate of") as diverged:
        commands.train(config, loss=broken)
    rate = float(re.search(r"learning rate of ([\d.e-]+)", str(diverged.value)).group(1).rstrip("."))
    assert rate == pytest.approx(config.optimization.learning_rate * factor_of_one_cycle(config, 20), rel=0.01)
    assert diverged.value.exit_status == 3
    run = RunFolder(Path("logs/experiment1"))
    assert state(run)["global_step"] == 20
    assert all(torch.isfinite(value).all() for value in state(run)["state_dict"].values())
    assert read_status(run)["status"] == "diverged"
    assert "diverged" in run.training_log.read_text()


def test_a_divergence_beside_muon_names_the_rate_of_the_setting_and_both_settings(
    settings: Callable[..., Config],
) -> None:
    config = settings(**{"optimization.optimizer": "muon", "optimization.muon_learning_rate": 0.07})
    with pytest.raises(Diverged, match=r"lower --optimization.learning_rate or --optimization.muon_learning") as found:
        commands.train(config, loss=lambda logits, labels: nn.functional.cross_entropy(logits, labels) * float("nan"))
    rate = config.optimization.learning_rate * factor_of_one_cycle(config, 0)
    assert f"not finite at step 1, at a learning rate of {rate:.3g};" in str(found.value)


class SpoiledLoss:
    """The cross entropy, which is NaN in the given steps, counted from 1. Without gradients in them."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.calls = 0

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(logits, labels)
        self.calls += torch.is_grad_enabled()
        return loss + float("nan") * torch.is_grad_enabled() if self.calls in self.steps else loss


def is_finite(checkpoint: dict[str, Any]) -> bool:
    return all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize(("spoiled", "limit"), [((45,), 1000), pytest.param((44, 45), 3, marks=pytest.mark.slow)])
def test_a_run_whose_last_loss_is_not_finite_diverges_and_keeps_what_was_good(
    spoiled: tuple[int, ...], limit: int, settings: Callable[..., Config]
) -> None:
    config = settings(**{"training.max_nonfinite_losses": limit, "optimization.ema_decay": 0.9})
    with pytest.raises(Diverged, match=rf"step {spoiled[0]}, .*; the last good state, after step 30, is saved\. "):
        commands.train(config, loss=SpoiledLoss(*spoiled))
    run = RunFolder(Path("logs/experiment1"))
    assert read_status(run)["status"] == "diverged"
    assert state(run)["global_step"] == 30
    assert is_finite(state(run))
    assert is_finite(state(run, "best.ckpt"))


def test_a_single_loss_that_is_not_finite_does_not_end_a_run(settings: Callable[..., Config]) -> None:
    class Skips(nn.Module):
        """A loss that is infinite in a step without gradients, as of a step that the gradient scaler skips."""

        calls = 0

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            loss = nn.functional.cross_entropy(logits, labels)
            self.calls += torch.is_grad_enabled()
            infinite = torch.is_grad_enabled() and self.calls == 20
            return loss * 0 + logits.detach().sum().abs() * float("inf") if infinite else loss

    run = commands.train(settings(), loss=Skips())
    assert read_status(run)["status"] == "finished"
    assert is_finite(state(run))


@pytest.mark.parametrize("what", ["weights", "averages"])
def test_weights_that_are_not_finite_are_never_saved(what: str, settings: Callable[..., Config]) -> None:
    class Spoil(Callback):
        """Spoils a weight or its average after the last step, when no loss can show it."""

        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
            if trainer.global_step == 45:
                average = next(one for one in trainer.callbacks if isinstance(one, WeightAveraging)).averaged
                tensors = average.tensors if what == "averages" else list(module.parameters())
                tensors[0].data.fill_(float("nan"))

    config = settings(**{"optimization.ema_decay": 0.9})
    with pytest.raises(Diverged, match=r"weights are not finite after step 45, .* state, after step 30, is saved\."):
        commands.train(config, callbacks=[Spoil()])
    run = RunFolder(Path("logs/experiment1"))
    assert is_finite(state(run))
    assert is_finite(state(run, "best.ckpt"))


@pytest.mark.parametrize(("step", "kept"), [(5, None), (20, 15)])
def test_saved_is_said_only_of_what_is_saved(step: int, kept: int | None, settings: Callable[..., Config]) -> None:
    with pytest.raises(Stopped) as stopped:
        commands.train(settings(), loss=SpoiledLoss(step), callbacks=[AtStep(step, send(signal.SIGTERM))])
    saved = "no earlier state was finite, so none is saved"
    if kept:
        saved = f"the last good state, after step {kept}, is saved"
        assert state(RunFolder(Path("logs/experiment1")))["global_step"] == kept
    start = f"Stopped after step {step}, whose loss was not finite; {saved}. Resume with: train(resume="
    assert str(stopped.value).startswith(start)
    assert str(stopped.value).endswith(", loss=...) in Python")
    commands.train(resume="experiment1", loss=SpoiledLoss())


def test_a_run_that_fails_saves_its_last_epoch(settings: Callable[..., Config], whole: RunFolder) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commands.train(settings(), experiment="broken", callbacks=[AtStep(38, fail)])
    broken = RunFolder(Path("logs/broken"))
    assert state(broken)["global_step"] == 30
    assert_same_run(whole, commands.train(resume="broken"))


def test_a_signal_while_a_failed_run_saves_its_last_epoch_waits(
    settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    write = StateSaver._write_best

    def signalled(saver: StateSaver) -> None:
        send(signal.SIGTERM)()
        write(saver)

    monkeypatch.setattr(StateSaver, "_write_best", signalled)
    with pytest.raises(ZeroDivisionError):
        commands.train(settings(), experiment="broken", callbacks=[AtStep(38, fail)])
    broken = RunFolder(Path("logs/broken"))
    assert state(broken)["global_step"] == 30
    assert (broken.checkpoints / "best.ckpt").is_file()


@pytest.mark.parametrize("length", [{}, {"training.limit_train_batches": 2, "training.max_epochs": 1}])
def test_a_learning_rate_beyond_reason_diverges(
    length: dict[str, int], overrides: dict[str, Any], monkeypatch: Any, capsys: Any
) -> None:
    given = {**overrides, **length, "optimization.learning_rate": 1e30, "optimization.schedule": "constant"}
    monkeypatch.setattr(sys, "argv", ["cifar100", "train", "--recipe", "quickstart", *options(given)])
    with pytest.raises(SystemExit) as ended:
        run_until_stopped()
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith("cifar100: the training diverged")
    assert "1e+30" in said
    assert said.count("\n") == 1


def test_a_run_has_one_process(settings: Callable[..., Config]) -> None:
    broken = stop_at(5, settings(), name="broken")
    with (
        occupied(broken),
        pytest.raises(UserError, match=rf"logs.broken is in use by process {os.getpid()} on "),
    ):
        commands.train(resume="broken")
    (broken.path / "status.json").write_text(json.dumps({**read_status(broken), "status": "running", "pid": 1}))
    assert read_status(broken)["status"] == "killed"  # nobody holds the lock
    commands.train(resume="broken")


def test_another_experiment_is_no_resumption(settings: Callable[..., Config]) -> None:
    stop_at(5, settings(), name="broken")
    changes = {"data.batch_size": 16, "optimization.momentum": 0.8, "training.validate_every": 2}
    with pytest.raises(UserError, match=r"^--data.batch_size, --optimization.momentum cannot change .* has 8, 0.9"):
        commands.train(resume="broken", changes=changes)
    commands.train(resume="broken", changes={"data.batch_size": 8})  # no difference


def test_an_edited_configuration_changes_no_settings_of_the_saved_state(settings: Callable[..., Config]) -> None:
    run = stop_at(20, settings(), name="edited")
    written = run.config.read_text()
    edited = re.sub(r"\n  weight_decay: .*", "\n  weight_decay: 0.25", written)
    assert edited != written
    run.config.write_text(edited)
    with pytest.raises(UserError, match=r"edited: optimization.weight_decay is 0.25 there, but .* trained with"):
        commands.train(resume="edited")
    run.config.write_text(written.replace("max_epochs: 3", "max_epochs: 4"))
    assert len(epochs(commands.train(resume="edited"))) == 4


def test_a_finished_run_can_be_made_longer(settings: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    constant = {"optimization.schedule": "constant"}
    whole = commands.train(settings(**constant), experiment="whole")
    short = commands.train(settings(**constant, **{"training.max_epochs": 2}), experiment="short")
    with pytest.raises(UserError, match=r"has finished its 2 epochs; .* --training.max_epochs N"):
        commands.train(resume="short")
    capsys.readouterr()
    commands.train(resume="short", changes={"training.max_epochs": 3})
    assert "--training.max_epochs: 2 -> 3 (the learning-rate schedule is stretched" in capsys.readouterr().out
    assert_same_run(whole, short)
    assert yaml.safe_load(short.config.read_text())["training"]["max_epochs"] == 3


def test_a_run_cannot_be_made_shorter_than_it_is(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = stop_at(45, load_config("quickstart", overrides={**overrides, "training.max_epochs": 4}), name="broken")
    before = broken.config.read_bytes()
    monkeypatch.setattr(sys, "argv", ["cifar100", "train", "--resume", "broken", "--training.max_epochs", "2"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_until_stopped()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"cifar100: --training.max_epochs is 2, but {broken.path} has already trained 3 epochs; set "
    )
    assert said.count("\n") == 1
    assert broken.config.read_bytes() == before
    assert read_status(broken)["status"] == "stopped"


def test_a_longer_schedule_is_stretched(settings: Callable[..., Config]) -> None:
    straight = {"optimization.schedule": "linear", "optimization.pct_start": 0.0}
    broken = stop_at(15, settings(**straight), name="broken")
    longer = commands.train(resume=broken.name, changes={"training.max_epochs": 6})
    whole = commands.train(settings(**straight, **{"training.max_epochs": 6}))
    assert [e["learning_rate"] for e in epochs(longer)][1:] == [e["learning_rate"] for e in epochs(whole)][1:]


def test_every_run_is_listed_with_what_became_of_it(
    settings: Callable[..., Config],
    finished: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert commands.list_runs() == []
    shutil.copytree(finished.path, "logs/whole")
    stop_at(20, settings(), name="broken")
    Path("logs/mess").mkdir()
    Path("logs/mess/status.json").write_text("[" * 100_000)
    found = {run.name: run for run in list_runs()}
    assert {name: run.status for name, run in found.items()} == {
        "whole": "finished",
        "broken": "stopped",
        "mess": "unknown",
    }
    assert (found["whole"].recipe, found["whole"].epochs) == ("quickstart", 3)
    assert (found["broken"].recipe, found["broken"].data) == ("quickstart", "Shapes-100")
    assert found["whole"].best == max(epoch["val/accuracy"] for epoch in epochs(RunFolder(Path("logs/whole"))))
    monkeypatch.setattr(sys, "argv", ["cifar100", "runs"])
    capsys.readouterr()
    run_until_stopped()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["Run", "mess", "whole", "broken"]
    assert all(len(line) <= 80 for line in shown)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # ten minutes, if nothing else computes
def test_killed_fifty_times_a_run_ends_as_the_undisturbed_one(overrides: dict[str, Any]) -> None:
    longer = {**overrides, "training.max_epochs": 700, "training.save_every_minutes": 0.001}
    whole = commands.train(load_config("quickstart", overrides=longer), experiment="whole")
    randomness = random.Random(0)
    command = [sys.executable, "-m", "cifar100", "train"]
    begin = [*command, "--recipe", "quickstart", "--experiment", "broken", *options(longer)]
    folder, saved = RunFolder(Path("logs/broken")), set()
    for _ in range(50):
        go_on = [*command, "--resume", "broken"] if folder.config.is_file() else begin
        process = subprocess.Popen(go_on, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while read_status(folder).get("pid") != process.pid and process.poll() is None:
            time.sleep(0.05)
        time.sleep(randomness.uniform(0.0, 1.5))
        assert process.poll() is None, process.communicate()[1]
        process.kill()
        process.communicate()
        assert read_status(folder)["status"] == "killed"
        if folder.metrics.exists():
            assert json.loads(folder.metrics.read_text())["epochs"]
        if (folder.checkpoints / "last.ckpt").exists():
            saved.add(state(folder)["global_step"])
    subprocess.run([*command, "--resume", "broken"], check=True, stdout=subprocess.DEVNULL)
    assert len(saved) > 10  # most of the kills did hit the training
    assert_same_run(whole, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and cc")
def test_whichever_file_operation_fails_a_whole_state_or_a_clear_line_is_left(tmp_path: Path, tiny_data: Path) -> None:
    """Every creation, write, rename, fsync and mkdir in the run folder fails once, each in a training of its own."""
    few = {"training.max_epochs": 2, "training.limit_train_batches": 2, "training.save_every_minutes": 0}
    program = [sys.executable, failing_files.__file__, str(tmp_path), str(errno.ENOSPC)]
    completed = subprocess.run(
        [*program, *options(small_overrides(tiny_data, **few))],
        env={**os.environ, "LD_PRELOAD": str(failing_files.compile_library(tmp_path))},
        capture_output=True,
        text=True,
        check=True,
    )
    undisturbed, *disturbed = map(json.loads, completed.stdout.splitlines())
    assert undisturbed["status"] == 0
    assert len(disturbed) > 100
    for result in disturbed[:-1]:
        lines = result["said"].splitlines()
        assert result["status"] in (0, 2), result
        assert len(lines) <= 1, result
        assert result["status"] == 0 or lines[0].startswith("cifar100: "), result
        is_over = "run has finished its 2 epochs" in result["second_said"]  # only its status could not be written
        assert result["second_status"] == 0 or is_over, result
        assert result["weights"] == undisturbed["weights"], result
        assert result["left"] == [], result
    assert sum(result["status"] == 2 for result in disturbed) > 50  # the failures did hit


class PlainModule(L.LightningModule):
    """What a plain script does: dropout, a linear layer, and nothing else."""

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
        self.scale = scale

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.network(batch).square().mean() * self.scale

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def plain_trainer(epochs: int) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def plain_fit(module: PlainModule, *, epochs: int, checkpoint: str | None = None) -> L.Trainer:
    torch.manual_seed(1)
    trainer = plain_trainer(epochs)
    with quiet():
        trainer.fit(module, torch.utils.data.DataLoader(torch.ones(64, 8), batch_size=8), ckpt_path=checkpoint)
    return trainer


def test_a_plain_lightning_script_forgets_the_random_state() -> None:
    def weights(epochs: int, checkpoint: str | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        module = PlainModule()
        plain_fit(module, epochs=epochs, checkpoint=checkpoint).save_checkpoint("plain.ckpt")
        return module.network[1].weight.detach()

    undisturbed = weights(2)
    weights(1)
    assert not torch.equal(undisturbed, weights(2, "plain.ckpt"))
    assert torch.equal(undisturbed, weights(2))


def test_a_plain_lightning_script_finishes_with_nan() -> None:
    module = PlainModule(scale=float("nan"))
    assert plain_fit(module, epochs=1).state.finished
    assert module.network[1].weight.isnan().all()
