"""`demo` and `publish`: their options, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifar100 import commands
from cifar100.cli.groups.sharing import show_published
from cifar100.cli.main import run_command_line
from cifar100.errors import UserError
from cifar100.results.publishing.hub_name import HubName
from cifar100.results.publishing.publish import Published


def test_what_is_shown_of_a_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"README.md": 1234, "model.onnx": 10_123_423}
    show_published(Published(where="http://hub/ada/net", name=HubName("ada/net"), files=files))
    assert capsys.readouterr().out.splitlines() == [
        "README.md   1,234 bytes",
        "model.onnx  10.12 MB",
        "in http://hub/ada/net",
        "",
        "Next:",
        "  cifar100 predict hf:ada/net IMAGE",
    ]
    show_published(Published(where="my net", name=None, files=files))
    assert capsys.readouterr().out.endswith("Next:\n  cifar100 predict 'my net' IMAGE\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"port": 7860, "checkpoint": "best"}),
        (["--port", "0", "--checkpoint", "last"], {"port": 0, "checkpoint": "last"}),
    ],
)
def test_options_of_demo_arrive(options: list[str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(commands, "demo", lambda *args, **named: calls.append((args, named)))
    run_command_line(["demo", "some-run", *options])
    assert calls == [(("some-run",), expected)]


def test_a_space_is_written_and_said_how_to_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def write_space(*args: Any, **named: Any) -> list[Path]:
        calls.append((args, named))
        return [Path("my space/app.py")]

    monkeypatch.setattr(commands, "write_space", write_space)
    run_command_line(["demo", "some-run", "--space", "my space", "--license", "mit"])
    assert calls == [(("some-run", "my space"), {"license": "mit", "checkpoint": "best"})]
    assert capsys.readouterr().out.splitlines() == [
        str(Path("my space/app.py")),
        "",
        "Next, try it in a separate environment, then upload it:",
        "  pip install uv && uv run --no-project --with-requirements 'my space/requirements.txt' 'my space/app.py'",
        "  hf repos create USER/NAME --repo-type space --space-sdk gradio",
        "  hf upload USER/NAME 'my space' --repo-type space",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "folder", "--port", "1"], "--port has no effect with --space"),
        (["--license", "mit"], "--license has no effect without --space"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_command_line(["demo", "some-run", *options])


def test_options_of_publish_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def publish(*args: Any, **named: Any) -> Published:
        calls.append((args, named))
        return Published(where="there", name=None, files={})

    monkeypatch.setattr(commands, "publish", publish)
    run_command_line(["publish", "some-run", "--to", "hf:ada/net", "--private", "--license", "mit"])
    expected = {"to": "hf:ada/net", "private": True, "license": "mit", "checkpoint": "best"}
    assert calls == [(("some-run",), expected)]
