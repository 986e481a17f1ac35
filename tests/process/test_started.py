"""Commands in messages are those that work for a person who has started the program in this way."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import cifar100
from cifar100.cli.main import COMMANDS, run_command_line
from cifar100.errors import UserError
from cifar100.process import started
from cifar100.process.packages import need
from cifar100.process.started import as_started, how_to_install
from cifar100.terminal import report, say, say_next, warn
from cifar100.training.reporting.run_log import RunLog


@pytest.fixture
def started_by_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `uv run` sets."""
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")


@pytest.mark.usefixtures("started_by_uv")
def test_every_way_to_print_shows_commands_as_the_program_was_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_log = RunLog(tmp_path / "training.log", enabled=True)
    say("run: cifar100 info")
    run_log.tell("run: cifar100 info")
    run_log.close()
    say_next("cifar100 info", "tensorboard --logdir logs")
    warn("run: cifar100 info")
    report("run: cifar100 info")
    shown, errors = capsys.readouterr()
    command = "run: uv run cifar100 info\n"
    assert shown == 2 * command + "\nNext:\n  uv run cifar100 info\n  uv run tensorboard --logdir logs\n"
    assert errors == f"cifar100: {command}{command}"
    assert (tmp_path / "training.log").read_text().endswith("  run: cifar100 info\n")  # read later and elsewhere


@pytest.mark.usefixtures("started_by_uv")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("evaluate it (cifar100 evaluate a), or b", "evaluate it (uv run cifar100 evaluate a), or b"),
        ("cifar100 evaluate a && cifar100 evaluate b", "uv run cifar100 evaluate a && uv run cifar100 evaluate b"),
        ("did you mean a? See cifar100 --help.", "did you mean a? See uv run cifar100 --help."),
        ("to upload it: wandb login && wandb sync a", "to upload it: uv run wandb login && uv run wandb sync a"),
        ("or log in: hf auth login", "or log in: uv run hf auth login"),
        ('install it: pip install "cifar100[timm]"', "install it: uv sync --extra timm"),
        ('pip install "cifar100[wandb]", or leave it out', "uv sync --extra wandb, or leave it out"),
        ('pip install "cifar100[export,hub]"', "uv sync --extra export --extra hub"),
        ("matches torch: pip install --upgrade torch torchvision", "matches torch: uv sync"),
        ("pip install uv && uv run --no-project app.py", "uv run --no-project app.py"),
        *((text, text) for text in ("hf:ada/net", "pip install mlflow", "the hf authors")),
        *((text, text) for text in ("uv run cifar100 info", "usage: cifar100 info [-h]", "cifar100 0.2.0")),
        *((text, text) for text in ("data/cifar100 info", "cifar100 holds no prepared data", "cifar100 information")),
    ],
)
def test_only_commands_are_changed(text: str, shown: str) -> None:
    assert as_started(text) == shown


def test_commands_are_plain_without_uv() -> None:
    for text in ("run: cifar100 info", how_to_install("timm"), "log in: hf auth login"):
        assert as_started(text) == text


def test_a_missing_package_is_installed_as_the_program_was_started(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as raised:
        need("no_such_package", to="fly", extra="hub")
    warn(str(raised.value))
    request.getfixturevalue("started_by_uv")
    warn(str(raised.value))
    plain, by_uv = capsys.readouterr().err.splitlines()
    assert plain.endswith('it is needed to fly; install it: pip install "cifar100[hub]"')
    assert by_uv.endswith("it is needed to fly; install it: uv sync --extra hub")


def test_every_extra_in_a_message_exists_and_one_function_writes_the_command() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    named: set[str] = set()
    for path in Path(cifar100.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"""(?:extra=|how_to_install\()["'](\w+)""", source))
        assert path.name == "started.py" or 'pip install "cifar100' not in source, path
    assert named >= {"audit", "export", "hub", "parquet", "sweep", "timm"}
    assert named <= set(project["project"]["optional-dependencies"])


def test_every_command_is_known() -> None:
    assert set(started.COMMANDS) == set(COMMANDS)


def test_no_message_writes_the_program_in_another_way() -> None:
    """`as_started` finds every command in a message, and nothing else decides how the program was started."""
    known = {*COMMANDS, "COMMAND", "--help"}
    for path in Path(cifar100.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        printed = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        texts = [text for text in printed if isinstance(text, str)]
        words = {word for text in texts for word in re.findall(r"(?:[:;(?] |&& |^ *)cifar100 ([a-z-]+)(?![\w-])", text)}
        assert words <= known, path
        if path.name != "started.py":
            assert not [text for text in texts if "UV_RUN" in text or "uv run cifar100" in text], path


@pytest.mark.usefixtures("started_by_uv")
def test_a_script_for_a_shell_is_not_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["completion", "bash"])
    assert capsys.readouterr().out.startswith('# eval "$(cifar100 completion bash)"')


@pytest.mark.usefixtures("started_by_uv")
def test_the_overview_shows_commands_to_copy_and_a_plain_usage(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: cifar100 COMMAND [options]"
    assert lines[-1] == "  uv run cifar100 train --recipe quickstart"
