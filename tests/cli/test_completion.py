"""The scripts for the shells, run by the shells themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from shells import shell

from cifar100.cli.completion import INSTALLATION, completion_script, known_values
from cifar100.cli.main import COMMANDS, build_parser

PARSERS = {name: build_parser(name) for name in COMMANDS}


def completed_by_bash(line: str, folder: Path) -> set[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    program = (
        f"{completion_script('bash', PARSERS)}\n"
        f"COMP_WORDS=({' '.join(words)}{' ' + chr(39) * 2 if not words[-1] else ''}); COMP_CWORD={len(words) - 1}\n"
        "_cifar100; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    result = subprocess.run([shell(), "-c", program], cwd=folder, check=True, capture_output=True, text=True)
    assert result.stderr == ""
    return set(result.stdout.split())


def test_bash_completes_commands_options_values_and_runs(tmp_path: Path) -> None:
    (tmp_path / "logs" / "experiment7").mkdir(parents=True)
    assert completed_by_bash("cifar100 tr", tmp_path) >= {"train"}
    assert completed_by_bash("cifar100 ", tmp_path) == set(COMMANDS)
    assert completed_by_bash("cifar100 train --data.batch", tmp_path) == {"--data.batch_size"}
    assert completed_by_bash("cifar100 train --recipe lap", tmp_path) == {"laptop"}
    assert completed_by_bash("cifar100 train --optimization.sam ", tmp_path) == {"none", "sam", "friendly"}
    assert completed_by_bash("cifar100 evaluate --json exp", tmp_path) == {"experiment7"}


def test_fish_completes_the_same(tmp_path: Path) -> None:
    script = tmp_path / "cifar100.fish"
    script.write_text(completion_script("fish", PARSERS))
    for line, expected in (("cifar100 tr", "train"), ("cifar100 train --recipe lap", "laptop")):
        program = f"source {script}; complete -C '{line}'"
        result = subprocess.run(
            [shell("fish"), "--no-config", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        assert result.stderr == ""
        assert expected in [row.partition("\t")[0] for row in result.stdout.splitlines()]


def test_zsh_accepts_the_script(tmp_path: Path) -> None:
    program = f"autoload -U compinit; compinit -u\n{completion_script('zsh', PARSERS)}\nfunctions _cifar100 | head -1"
    result = subprocess.run(
        [shell("zsh"), "-f", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert (result.stdout.strip(), result.stderr) == ("_cifar100 () {", "")


@pytest.mark.parametrize("shell", INSTALLATION)
def test_every_script_names_every_command_and_how_to_install_it(shell: str) -> None:
    script = completion_script(shell, PARSERS)  # type: ignore[arg-type]
    assert script.startswith(f"# {INSTALLATION[shell]}")  # type: ignore[index]
    assert [name for name in COMMANDS if name not in script] == []


def test_values_of_settings_are_the_words_of_their_types() -> None:
    options = {option.dest: option for option in PARSERS["train"]._actions}
    assert known_values(options["training.deterministic"]) == ("true", "false")
    assert known_values(options["training.devices"]) == ("auto",)
    assert "resnet18" in known_values(options["model.name"])
    assert known_values(options["optimization.momentum"]) == ()
