"""`prepare` and `info`: their options, and what is printed."""

from __future__ import annotations

import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_folder import make_folder

from cifar100 import __version__, commands
from cifar100.cli.main import run_command_line
from cifar100.files.user_paths import as_argument


@pytest.mark.parametrize(
    ("arguments", "expected", "origin", "following"),
    [
        ([], ("download", "dataset", {"image_size": 32, "skip_damaged": False}), "official", "train"),
        (
            ["--source", "photos", "--root", "my data", "--image-size", "64", "--skip-damaged"],
            ("photos", "my data", {"image_size": 64, "skip_damaged": True}),
            "custom",
            "train --data.root 'my data' --data.image_size 64",
        ),
        (
            ["--source", "generated"],
            ("generated", "dataset", {"image_size": 32, "skip_damaged": False}),
            "generated",
            "train --data.source generated",
        ),
    ],
)
def test_prepare_passes_its_options_and_says_how_to_train(
    arguments: list[str],
    expected: tuple[str, str, dict[str, Any]],
    origin: str,
    following: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def prepare(source: str, root: str, **options: Any) -> SimpleNamespace:
        calls.append((source, root, options))
        return SimpleNamespace(origin=origin)

    monkeypatch.setattr(commands, "prepare", prepare)
    run_command_line(["prepare", *arguments])
    assert calls == [expected]
    assert capsys.readouterr().out.endswith(f"\nNext:\n  cifar100 {following}\n")


def test_info_describes_versions_devices_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["info", "--root", str(tmp_path)])
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if not line.startswith(" ")] == [
        *("versions", "devices", "data", "", "Next, to paste this into a bug report:")
    ]
    assert shown.endswith(f"\n  cifar100 info --root {as_argument(tmp_path)} --markdown\n")
    assert " ".join(["cifar100", __version__]) in " ".join(shown.split())
    assert "not prepared; run: cifar100 prepare" in shown
    make_folder(tmp_path / "data")
    run_command_line(["info", "--root", str(tmp_path / "data")])
    assert "60 training, 10 test, 5 classes" in capsys.readouterr().out


def test_info_as_markdown_is_a_table_for_each_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["info", "--root", str(tmp_path), "--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("<details>")] == [
        f"<details><summary>{title}</summary>" for title in ("versions", "devices", "data")
    ]
    assert f"| cifar100 | {__version__} |" in lines
    assert f"| system | {platform.platform()} |" in lines
    tables = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {3}
