"""`prepare` and `info`: their options, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_folder import make_folder

from cifar100 import __version__, commands
from cifar100.cli.main import run_command_line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("download", "dataset", 32)),
        (["--source", "generated", "--root", "x"], ("generated", "x", 32)),
        (["--root", "x", "--image-size", "96"], ("download", "x", 96)),
    ],
)
def test_prepare_passes_source_and_root(
    arguments: list[str], expected: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, int]] = []
    monkeypatch.setattr(commands, "prepare", lambda source, root, image_size: calls.append((source, root, image_size)))
    run_command_line(["prepare", *arguments])
    assert calls == [expected]


def test_info_describes_versions_devices_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["info", "--root", str(tmp_path)])
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if not line.startswith(" ")] == ["versions", "devices", "data"]
    assert " ".join(["cifar100", __version__]) in " ".join(shown.split())
    assert "nothing prepared" in shown
    make_folder(tmp_path / "data")
    run_command_line(["info", "--root", str(tmp_path / "data")])
    assert "60 training, 10 test, 5 classes" in capsys.readouterr().out
