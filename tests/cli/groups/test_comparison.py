"""`compare`: what is printed, on 80 columns and as JSON."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from evaluated_runs import right, write_evaluated

from cifar100 import compare
from cifar100.cli.main import run_command_line


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two groups of three seeds."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_evaluated(f"plain_{seed}", right(300 + seed), settings={"training.seed": seed})
        other = {"training.seed": seed, "model.widths": [16, 48, 96], "optimization.label_smoothing": 0.2}
        write_evaluated(f"smooth_{seed}", right(400 - seed), settings=other)
    return [f"{name}_{seed}" for name in ("plain", "smooth") for seed in range(3)]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_tables_hold_the_figures(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["compare", *runs])
    shown = capsys.readouterr().out
    assert shown.startswith("600 test images of Six things\n")
    found = rows(shown)
    assert "plain_0 A 0 50.00% 46.0 to 54.0 0:02:00 2.52 M 2 best".split() in found
    assert "model.widths A: [24, 48, 96]; B: [16, 48, 96]".split() in found
    assert "smooth_0 +16.67 +13.83 to +19.67 100 0 <0.001 better".split() in found
    assert "plain_1 +0.17 +0.00 to +0.50 1 0 1.000 unclear".split() in found
    assert "A 3 50.17% 0.17 (ref)".split() in found
    assert "B 3 66.50% 0.17 +16.33 +15.96 to +16.71 <0.001 better".split() in found
    assert "5 comparisons, so a verdict needs p < 0.05 / 5." in shown
    assert "plain_0 (ref) and plain_1 (it): both right 300, both wrong 299, only one right 1" in shown
    assert "a 100 50 51 +1".split() in found
    *_, caution, _, heading, following = shown.splitlines()
    assert caution.startswith("These are the test images.")
    assert (heading, following) == ("Next:", f"  cifar100 report {' '.join(runs)}")
    assert "seeds." not in shown  # there are several


def test_what_is_missing_is_said(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["compare", "plain_0", "smooth_0"])
    assert "This ignores the variation between seeds." in capsys.readouterr().out
    run_command_line(["compare", "plain_0", "plain_1"])
    shown = capsys.readouterr().out
    assert "The settings differ only in the seed." in shown
    assert "A 2 50.08% 0.12".split() in rows(shown)
    assert "ignores the variation" not in shown


class Terminal(io.StringIO):
    """A terminal of 80 columns, whose width comes from COLUMNS."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_six_runs_fit_in_80_columns(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    run_command_line(["compare", *runs])
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for name in runs:  # no name is cut or folded
        assert any(line.startswith(f"{name} ") for line in lines)


def test_the_json_is_the_comparison_and_nothing_else(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["compare", *runs, "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads(json.dumps(asdict(compare(runs))))
    assert content["split"] == "test"
    assert "too optimistic" in content["caution"]


def test_long_texts_in_the_json_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write_evaluated(name, right(3, of=6), changes={"data": 500 * "ß"})  # escaped: 3,000 characters
    run_command_line(["compare", "a", "b", "--json"])
    assert json.loads(capsys.readouterr().out)["data"] == 500 * "ß"


def test_groups_of_equal_accuracies_are_shown_without_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, epochs in {"a": 3, "b": 3, "c": 4, "d": 4}.items():
        settings = {"training.max_epochs": epochs, "training.seed": ord(name)}
        write_evaluated(name, right(epochs, of=6), settings=settings)
    run_command_line(["compare", *"abcd"])
    shown = capsys.readouterr().out
    assert "B 2 66.67% 0.00 +16.67 unclear".split() in rows(shown)
    run_command_line(["compare", *"abcd", "--json"])
    assert json.loads(capsys.readouterr().out)["group_pairs"][0]["interval"] is None
