"""The file of the trials, as this version and earlier ones have written it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.search.trials.lines import Line, append_line, read_lines, shared_facts
from cifar100.settings import ADDED_LATER, load_config


def facts_of(config: Config, data: Path) -> Line:
    return shared_facts(config, DataFolder(data).info(), split="test", checkpoint="last")


def as_an_earlier_version(facts: Line) -> Line:
    earlier = copy.deepcopy(facts)
    for name in ADDED_LATER:
        section, _, key = name.partition(".")
        earlier["settings"][section].pop(key, None)
    return earlier


@pytest.mark.parametrize("recipe", ["quickstart", "original"])
def test_trials_of_an_earlier_version_are_continued(recipe: str, tiny_data: Path, tmp_path: Path) -> None:
    facts, file = facts_of(load_config(recipe), tiny_data), tmp_path / "trials.jsonl"
    lines = [{**as_an_earlier_version(facts), "trial": "seed0"}, {**facts, "trial": "seed1"}]
    for line in lines:
        append_line(line, file)
    assert read_lines(file, facts) == lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.blocks": "narrow"}, r"settings.model.blocks: plain there, narrow here"),
        ({"data.batch_size": 64}, r"settings.data.batch_size: 128 there, 64 here"),
    ],
)
def test_other_settings_than_those_of_an_earlier_version_are_refused(
    changes: dict[str, object], message: str, tiny_data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "trials.jsonl"
    append_line({**as_an_earlier_version(facts_of(load_config("quickstart"), tiny_data)), "trial": "seed0"}, file)
    with pytest.raises(UserError, match=message):
        read_lines(file, facts_of(load_config("quickstart", overrides=changes), tiny_data))


@pytest.mark.parametrize("text", ["[]", "3", '{"settings": 3}', '{"settings": {"model": {"unknown": 1}}}'])
def test_a_line_of_something_else_is_refused(text: str, tiny_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    file.write_text(f"{text}\n")
    with pytest.raises(UserError, match="holds trials with other settings"):
        read_lines(file, facts_of(load_config("laptop"), tiny_data))
