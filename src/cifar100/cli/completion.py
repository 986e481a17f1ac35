"""Shell completion: a script for bash, zsh or fish that completes commands, options, their values and names of runs."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Annotated, Any, Literal, get_args, get_origin

from cifar100.config import COMPONENTS, settings
from cifar100.config.declarations import components
from cifar100.settings import recipe_names

Shell = Literal["bash", "zsh", "fish"]

INSTALLATION: dict[Shell, str] = {
    "bash": 'eval "$(cifar100 completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(cifar100 completion zsh)"  # in ~/.zshrc, after compinit',
    "fish": "cifar100 completion fish > ~/.config/fish/completions/cifar100.fish",
}
"""The line that installs the completion in each shell."""

BASH = """\
_cifar100() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "%(commands)s" -- "$current"))
        return
    fi
    case "$command $previous" in
%(values)s
    esac
    if [ -z "$words" ] && [ "${current#-}" != "$current" ]; then
        case "$command" in
%(options)s
        esac
    elif [ -z "$words" ]; then
        words=$(command ls logs 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _cifar100 cifar100
"""
"""A template. Names of runs are the folders below `logs/`; `-o default` adds files."""


def completion_script(shell: Shell, parsers: Mapping[str, ArgumentParser]) -> str:
    """Print the completion script for bash, zsh or fish.

    It completes commands, options, values and names of runs. Its first line shows how to install it. It completes the
    command `cifar100`, so activate the environment first (with uv: `.venv`).

    Args:
        shell: the shell that runs the script.
        parsers: command -> parser.
    """
    if shell == "fish":
        return "\n".join([f"# {INSTALLATION[shell]}", *_fish_lines(parsers)]) + "\n"
    script = BASH % {
        "commands": " ".join(parsers),
        "values": "\n".join(_bash_values(parsers)),
        "options": "\n".join(
            f'            {name}) words="{" ".join(_option_names(parser))}" ;;' for name, parser in parsers.items()
        ),
    }
    start = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"# {INSTALLATION[shell]}\n{start}{script}"


def known_values(option: Action) -> tuple[str, ...]:
    """Return the values that an option can have, if they can be listed."""
    if option.choices is not None:
        return tuple(map(str, option.choices))
    if option.dest == "recipe":
        return tuple(recipe_names())
    if option.dest in COMPONENTS:
        return tuple(components(*COMPONENTS[option.dest]))
    return tuple(_literals(settings()[option.dest].annotation)) if option.dest in settings() else ()


def _literals(annotation: Any) -> Iterator[str]:
    """Yield the words that a type allows, such as `true` and `false`; None for the others."""
    if annotation is bool:
        yield from ("true", "false")
    elif annotation is type(None):
        yield "null"
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif get_origin(annotation) is Annotated:
        yield from _literals(get_args(annotation)[0])
    elif type(None) in get_args(annotation) or "Union" in str(get_origin(annotation)):
        for part in get_args(annotation):
            yield from _literals(part)


def _options(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if action.option_strings and action.help != SUPPRESS]


def _option_names(parser: ArgumentParser) -> list[str]:
    return [option.option_strings[-1] for option in _options(parser)]


def _bash_values(parsers: Mapping[str, ArgumentParser]) -> Iterator[str]:
    """Yield a case for each option with known values, with all commands that have it."""
    commands: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, parser in parsers.items():
        for option in _options(parser):
            if values := known_values(option):
                commands.setdefault((option.option_strings[-1], values), []).append(name)
    for (option_name, values), names in commands.items():
        pattern = "|".join(f'"{name} {option_name}"' for name in names)
        yield f'        {pattern}) words="{" ".join(values)}" ;;'


def _fish_lines(parsers: Mapping[str, ArgumentParser]) -> Iterator[str]:
    """Yield a `complete` command for each command, option and for the names of runs."""
    yield "complete -c cifar100 -n __fish_use_subcommand -f"
    for name, parser in parsers.items():
        yield f"complete -c cifar100 -n __fish_use_subcommand -f -a {name} -d {quote(parser.description or '')}"
    yield "complete -c cifar100 -n 'not __fish_use_subcommand' -a '(command ls logs 2>/dev/null)' -d run"
    for name, parser in parsers.items():
        for option in _options(parser):
            values = known_values(option)
            argument = f" -x -a {quote(' '.join(values))}" if values else " -r" if option.nargs != 0 else ""
            text = (option.help or "").split(". ")[0].split(";")[0].replace("%%", "%")
            yield (
                f"complete -c cifar100 -n '__fish_seen_subcommand_from {name}' "
                f"-l {option.option_strings[-1].lstrip('-')}{argument} -d {quote(text)}"
            )
