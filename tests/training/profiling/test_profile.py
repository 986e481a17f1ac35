from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from small_runs import assert_equal, small_config, state

from cifar100 import commands
from cifar100.data.folder.layout import read_info
from cifar100.models import build_model
from cifar100.models.summary import mult_adds
from cifar100.training.profiling.profile import TIMES, TRACE, Window, window
from cifar100.training.profiling.step_times import StepTimes


def test_a_profiled_run_has_a_trace_a_table_and_the_same_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    profiled = commands.train(small_config(tiny_data, **{"training.profile": True, "training.max_epochs": 2}))
    out = capfd.readouterr().out
    plain = commands.train(small_config(tiny_data, **{"training.max_epochs": 2}))
    assert_equal(state(profiled)["state_dict"], state(plain)["state_dict"])
    assert not plain.profile.exists()

    facts = json.loads((profiled.profile / TIMES).read_text())
    assert facts["steps"] == 20
    assert facts["batches"] == [{"shape": [32, 3, 32, 32], "steps": 20}]
    assert sum(facts["phases"].values()) == pytest.approx(facts["seconds_per_step"])
    assert min(facts["phases"].values()) > 0
    assert facts["phases"]["backward pass"] > facts["phases"]["data"]
    reached = facts["flops_per_step"] / facts["seconds_per_step"]
    assert facts["fraction_of_peak"] == pytest.approx(reached / facts["peak_flops_per_second"])
    for phase in facts["phases"]:
        assert phase in out
    assert "of the" in out
    events = json.loads(gzip.decompress((profiled.profile / TRACE).read_bytes()))["traceEvents"]
    assert len([event for event in events if str(event.get("name")).startswith("Optimizer.step#")]) == 3
    assert any("convolution" in str(event.get("name")) for event in events)


def test_operations_are_those_of_the_images_of_the_timed_steps(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    resized = {"training.resolutions": (16, 24, 32), "training.resolution_changes": (0.3, 0.9)}
    config = small_config(tiny_data, **resized, **{"training.profile": True})
    run = commands.train(config)
    facts = json.loads((run.profile / TIMES).read_text())
    shapes = [batch["shape"] for batch in facts["batches"]]
    assert shapes == [[32, 3, 16, 16], [32, 3, 24, 24]]
    assert sum(batch["steps"] for batch in facts["batches"]) == facts["steps"]
    network = build_model(config.model, read_info(run.dataset_info).num_classes)
    operations = sum(b["steps"] * 32 * mult_adds(network, image_shape=tuple(b["shape"][1:])) for b in facts["batches"])
    assert facts["flops_per_step"] == pytest.approx(6 * operations / facts["steps"])
    assert f"({facts['batches'][0]['steps']} steps), 32 of 24 x 24 (" in capfd.readouterr().out


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 27, 28, None])
def test_the_window_lies_in_the_run(steps: int | None) -> None:
    found = window(steps)
    if steps is None or steps >= 28:
        assert found == Window(first_traced=5, traced=3, timed=20)
    else:
        assert found.first_timed + found.timed <= max(steps, 1)


def test_a_run_of_one_step_is_too_short(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = {"training.max_epochs": 1, "training.limit_train_batches": 1, "training.profile": True}
    run = commands.train(small_config(tiny_data, **short))
    assert "the run has too few steps to time" in capsys.readouterr().out
    assert (run.profile / TRACE).is_file()


def test_the_time_of_nested_actions_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = StepTimes(first_step=1, num_steps=1)
    clock = iter(range(100))
    monkeypatch.setattr(times, "_now", lambda: float(next(clock)))
    for _ in range(3):  # the first is left out, the third only ends the second
        with times.profile("[_TrainingEpochLoop].train_dataloader_next"):
            pass
        with times.profile("run_training_batch"), times.profile("[LightningModule]ImageClassifier.optimizer_step"):
            with times.profile("[Strategy]SingleDeviceStrategy.training_step"):
                pass
            with times.profile("[Strategy]SingleDeviceStrategy.backward"):
                pass
        with times.profile("[Callback]StateSaver.on_train_batch_end"):
            pass
    # A tick for each look at the clock: an action of two looks takes 1, and those inside are subtracted.
    assert times.steps == 1
    assert times.seconds["data"] == times.seconds["forward pass"] == times.seconds["backward pass"] == 1
    assert times.seconds["callbacks, schedule"] == 1
    assert times.seconds["optimizer"] == 5 - 2
    assert sum(times.seconds.values()) == 13
    assert times.device == torch.device("cpu")


def test_the_last_step_of_an_epoch_is_left_out() -> None:
    times = StepTimes(first_step=0, num_steps=5)
    for _ in range(2):
        with times.profile("run_training_epoch"):
            for _ in range(3):
                with times.profile("[_TrainingEpochLoop].train_dataloader_next"):
                    pass
    assert times.steps == 4
