from __future__ import annotations

import pytest

from cifar100.config import SECTIONS, settings
from cifar100.config.suggestions import ALIASES, SECTION_ALIASES, did_you_mean, suggestion


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("optimization.lr", "optimization.learning_rate"),
        ("lr", "optimization.learning_rate"),
        ("training.lr", "optimization.learning_rate"),
        ("data.learning_rate", "optimization.learning_rate"),
        ("batch_size", "data.batch_size"),
        ("training.batch-size", "data.batch_size"),
        ("data.batchsize", "data.batch_size"),
        ("epochs", "training.max_epochs"),
        ("training.max_epoch", "training.max_epochs"),
        ("wd", "optimization.weight_decay"),
        ("gpus", "training.devices"),
        ("workers", "data.num_workers"),
        ("model", "model.name"),
        ("dataset", "data.root"),
        ("optimization.momentun", "optimization.momentum"),
        ("model.nme", "model.name"),
        ("Seed", "training.seed"),
        ("xyzzy", None),
        ("a" * 100_000, None),
        ("", None),
    ],
)
def test_the_name_that_was_meant(word: str, meant: str | None) -> None:
    assert suggestion(word, tuple(settings())) == meant


@pytest.mark.parametrize(("word", "meant"), [("train", "training"), ("dataa", "data"), ("optim", "optimization")])
def test_the_section_that_was_meant(word: str, meant: str) -> None:
    assert suggestion(word, tuple(SECTIONS)) == meant


def test_the_end_of_a_message() -> None:
    assert did_you_mean("lr", tuple(settings()), prefix="--") == "; did you mean --optimization.learning_rate?"
    assert did_you_mean("xyzzy", tuple(settings())) == "."


def test_every_alias_leads_to_a_setting_and_is_none_itself() -> None:
    assert set(ALIASES.values()) <= set(settings())
    assert set(SECTION_ALIASES.values()) <= set(SECTIONS)
    own = {name.partition(".")[2] for name in settings()}
    assert not {alias for alias in ALIASES if alias in own}
