"""Which runs are of one start."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from similar_runs import make_data, write_member
from torch import nn

from cifar100.data.dataset_info import read_info, write_info
from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.models import NetworkSource, make_network
from cifar100.results.combining.starts import check_one_start
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_complete_config

WEIGHTS = {"model__weights": "weights.pt"}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def member(name: str, *, began_with: tuple[str, str | None] | None = None, **settings: Any) -> RunFolder:
    """Write a run. began_with: source and sha256 of its first weights; None: random parameters."""
    run = write_member(name, make_data(Path(f"data-{name}")), **settings)
    if began_with is not None:
        source, sha256 = began_with
        write_json({"source": source, "sha256": sha256, "new": [], "classes": None}, run.initial_weights)
    return run


def check(*runs: RunFolder, network: NetworkSource | None = None) -> None:
    check_one_start(runs, [load_complete_config(run.config) for run in runs], network)


def refused(message: str, *runs: RunFolder, network: NetworkSource | None = None) -> None:
    with pytest.raises(UserError, match=message) as raised:
        check(*runs, network=network)
    assert "\n" not in str(raised.value)


def test_random_parameters_are_those_of_the_seed() -> None:
    one, same, other = member("one"), member("same", step=0.1), member("other", training__seed=1)
    check(one, same)
    refused(r"one and other did not start from the same weights \([\d,]+ of [\d,]+ differed, training.seed 0 and 1\), "
            r"expected runs of one start or of one training. Use their ensemble instead: cifar100 evaluate one "
            r"same other --ensemble$", one, same, other)  # fmt: skip
    write_info(replace(read_info(one.dataset_info), num_test=0), one.dataset_info)
    refused("--ensemble --split validation$", one, other)


def test_a_custom_network_is_made_again_and_a_module_cannot_be() -> None:
    one, other = member("one"), member("other", training__seed=1)
    refused("30 of 30 differed", one, other, network=lambda num_classes: nn.Linear(5, num_classes))
    config = load_complete_config(one.config)
    check(one, other, network=make_network(None, config.model, 5))


def test_trained_weights_are_known_by_their_content_wherever_they_lie() -> None:
    one = member("one", began_with=("weights.pt", "a" * 64), **WEIGHTS)
    moved = member("moved", began_with=("copy/weights.pt", "a" * 64), training__seed=1, **WEIGHTS)
    other = member("other", began_with=("weights.pt", "b" * 64), **WEIGHTS)
    check(one, moved)
    refused(r"one and other did not start from the same weights \(weights.pt, and weights.pt\)", one, moved, other)
    scratch = member("scratch", training__seed=3)
    refused(r"\(random ones of training.seed 3, and weights.pt\)", scratch, one)
    refused(r"\(weights.pt, and random ones of training.seed 3\)", one, scratch)


def test_weights_that_timm_publishes_are_known_by_their_name() -> None:
    one = member("one", began_with=("timm/a, published by timm", None))
    same = member("same", began_with=("timm/a, published by timm", None), training__seed=1)
    other = member("other", began_with=("timm/b, published by timm", None))
    check(one, same)
    refused(r"\(timm/a, published by timm, and timm/b, published by timm\)", one, other)


def test_without_the_record_the_settings_say_it() -> None:
    check(member("one", **WEIGHTS), member("same", training__seed=1, **WEIGHTS))
    refused(r"\(weights.pt, and other.pt\)", RunFolder(Path("logs/one")), member("other", model__weights="other.pt"))


def test_a_run_and_one_that_began_with_its_weights_are_of_one_training() -> None:
    first = member("first")
    best = first.checkpoints / "best.ckpt"
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    later = member("later", began_with=(best.as_posix(), "a" * 64), training__seed=1, **WEIGHTS)  # first was trained on
    check(first, later)
    check(later, first)
    copied = member("copied", began_with=("elsewhere.ckpt", digest), training__seed=1, **WEIGHTS)
    moved = RunFolder(Path(shutil.move(first.path, "moved")))
    check(moved, copied)
    refused(r"\(random ones of training.seed 0, and logs/first/lightning_checkpoints/best.ckpt\)", moved, later)


def test_a_damaged_record_is_one_line() -> None:
    one, other = member("one"), member("other")
    other.initial_weights.write_text("[]")
    refused(r"logs.other.initial_weights.json cannot be read .* restore it", one, other)
