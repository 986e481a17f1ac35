"""The command that measures a run is one that works: for its images, its weights and its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from trained_networks import INFO, ColourNetwork, write_run

from cifar100.data.dataset_info import write_info
from cifar100.runs.advice import checkpoint_choice, how_to_evaluate, usual_split
from cifar100.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return write_run(Path("logs/mine"), ColourNetwork(6))


def test_data_without_test_images_are_measured_on_validation_images(run: RunFolder) -> None:
    assert how_to_evaluate(run) == "cifar100 evaluate mine"
    without = replace(INFO, num_test=0)
    assert (usual_split(INFO), usual_split(without)) == ("test", "validation")
    write_info(without, run.dataset_info)
    assert how_to_evaluate(run) == "cifar100 evaluate mine --split validation"
    run.dataset_info.write_text("damaged")
    assert how_to_evaluate(run) == "cifar100 evaluate mine"


def test_a_custom_network_is_measured_from_python(run: RunFolder) -> None:
    run.custom_parts.write_text('{"loss": "mine"}')
    assert how_to_evaluate(run) == "cifar100 evaluate mine"  # the network is that of the settings
    run.custom_parts.write_text('{"network": "Net"}')
    assert how_to_evaluate(run) == "evaluate('logs/mine', network=...) in Python"
    last = run.checkpoints / "last.ckpt"
    expected = 'evaluate(\'logs/mine\', network=..., split="validation", checkpoint="last", calibrate=True) in Python'
    assert how_to_evaluate(run, split="validation", checkpoint=last, calibrate=True) == expected
    run.custom_parts.write_text("damaged")
    assert how_to_evaluate(run) == "cifar100 evaluate mine"


def test_weights_that_are_not_chosen_by_default_are_named(run: RunFolder) -> None:
    best, last = run.checkpoints / "best.ckpt", run.checkpoints / "last.ckpt"
    assert checkpoint_choice(run, best) == checkpoint_choice(run, best.absolute()) == ""
    assert checkpoint_choice(run, last) == "last"
    assert checkpoint_choice(run, Path("my weights/best.ckpt")) == "my weights/best.ckpt"
    command = how_to_evaluate(run, checkpoint=Path("my weights/best.ckpt"), calibrate=True)
    assert command == "cifar100 evaluate mine --checkpoint 'my weights/best.ckpt' --calibrate"
    best.unlink()  # of a run without validation images
    assert checkpoint_choice(run, last) == ""
