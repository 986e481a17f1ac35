"""The moving average of the weights, against its closed form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_runs import SMALL_BATCHES
from torch import nn

from cifar100 import commands
from cifar100.errors import UserError
from cifar100.runs.checkpoints import averaged_weights, read_checkpoint
from cifar100.settings import load_config
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.ema import AveragedWeights, WeightAveraging


def test_the_average_has_its_closed_form() -> None:
    network = nn.BatchNorm1d(1)
    averaged = AveragedWeights(network)
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0]
    for value in values:
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_var.fill_(value**2)  # type: ignore[union-attr]
            network.num_batches_tracked += 1
        averaged.update(0.5)
    decays = [min(0.5, (1 + n) / (10 + n)) for n in range(len(values))]
    shares = [
        (1 - decays[i]) * torch.tensor(decays[i + 1 :]).prod().item() if i else torch.tensor(decays[1:]).prod().item()
        for i in range(len(values))
    ]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * value for share, value in zip(shares, values, strict=True))
    assert averaged.weights()["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert averaged.weights()["running_var"].item() == pytest.approx(
        sum(share * value**2 for share, value in zip(shares, values, strict=True)), rel=1e-5
    )
    assert averaged.weights()["num_batches_tracked"] == len(values)
    assert network.weight.item() == values[-1]


def test_the_decay_rises_to_the_last_one() -> None:
    averaging = WeightAveraging(
        AveragedWeights(nn.Linear(1, 1)), RunClock(100), decay=0.9, final_decay=0.999, start=0.5
    )
    assert [averaging.decay_at(progress) for progress in (0.5, 0.75, 1.0)] == pytest.approx([0.9, 0.99, 0.999])
    constant = WeightAveraging(AveragedWeights(nn.Linear(1, 1)), RunClock(100), decay=0.9)
    assert constant.decay_at(0.3) == pytest.approx(0.9)


def test_a_decay_that_falls_is_refused() -> None:
    with pytest.raises(UserError, match=r"ema_final_decay is 0\.9, but it must be at least ema_decay, 0\.99"):
        load_config("quickstart", overrides={"optimization.ema_decay": 0.99, "optimization.ema_final_decay": 0.9})


def test_swapping_twice_changes_nothing() -> None:
    network = nn.Linear(2, 2)
    averaged = AveragedWeights(network)
    averaged.update(0.9)
    with torch.no_grad():
        network.weight.add_(1)
    trained, average = network.weight.detach().clone(), averaged.weights()["weight"]
    averaged.swap()
    assert torch.equal(network.weight, average)
    assert torch.equal(averaged.weights()["weight"], trained)
    averaged.swap()
    assert torch.equal(network.weight, trained)


def test_validation_and_evaluation_use_the_average_and_training_does_not(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "data.root": tiny_data,
        "model.widths": [8, 8, 8],
        **SMALL_BATCHES,
        "training.max_epochs": 4,
        "training.accelerator": "cpu",
    }
    plain = commands.train(load_config("quickstart", overrides=given))
    run = commands.train(
        load_config("quickstart", overrides={**given, "optimization.ema_decay": 0.95, "optimization.ema_start": 0.3})
    )
    last, other = (read_checkpoint(folder.checkpoints / "last.ckpt") for folder in (run, plain))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in last["state_dict"].items())
    assert averaged_weights(other) is None
    validated, plainly = (json.loads(folder.metrics.read_text())["epochs"] for folder in (run, plain))
    assert validated[0]["val/loss"] == plainly[0]["val/loss"]  # the average had not begun
    assert validated[-1]["val/loss"] != plainly[-1]["val/loss"]
    assert [epoch.get("val/averaged") for epoch in validated] == [None, 1, 1, 1]
    assert not any("val/averaged" in epoch for epoch in plainly)
    assert run.training_log.read_text().count("of averaged weights") == 3
    evaluation = commands.evaluate(run.name, split="validation", checkpoint="last")
    assert evaluation.averaged
    assert evaluation.loss == pytest.approx(validated[-1]["val/loss"], rel=1e-4)
    best = commands.evaluate(run.name, split="validation")
    assert best.top1 == pytest.approx(max(epoch["val/accuracy"] for epoch in validated), abs=1e-6)
    assert not commands.evaluate(plain.name, split="validation").averaged


def test_a_start_without_an_average_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"--optimization.ema_start 0.5 has no effect: it needs --optimization.ema_decay"
    ):
        load_config("quickstart", overrides={"optimization.ema_start": 0.5})


def test_tensors_are_looked_up_once_and_counters_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    calls: list[None] = []
    state_dict = network.state_dict
    monkeypatch.setattr(network, "state_dict", lambda *given, **options: calls.append(None) or state_dict())
    averaged = AveragedWeights(network)
    for _ in range(20):
        averaged.update(0.9)
    assert len(calls) == 1
    with torch.profiler.profile() as profile:
        averaged.update(0.9)
    assert not [event.key for event in profile.key_averages() if event.key in ("aten::copy_", "aten::clone")]
    assert len(calls) == 1


def test_a_state_is_restored() -> None:
    first, second = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    averaged, restored = AveragedWeights(first), AveragedWeights(second)
    for value in (1.0, 2.0, 5.0):
        with torch.no_grad():
            first.weight.fill_(value)
        averaged.update(0.9)
    restored.load_state_dict(averaged.state_dict())
    assert restored.steps == 3
    assert torch.equal(restored.weights()["weight"], averaged.weights()["weight"])
    assert torch.equal(second.weight, torch.ones(2))
