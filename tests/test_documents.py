"""What the documents name exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cifar100.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

parser_of = cache(build_parser)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    functions = {name for source in sources.values() for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", text))
    assert sorted(named - functions) == []
    files = set(re.findall(r"`(?:tests/[\w/]*?)?(test_\w+)\.py`", text))
    assert sorted(files - {path.stem for path in sources}) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub and the documentation site make them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_heading_leads_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        assert anchor in anchors(document.parent / target if target else document), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_in_a_table_has_a_bar(document: Path) -> None:
    """GitHub ends the cell there; escaped, the site shows the backslash."""
    rows = re.findall(r"^\|.*\|$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert [code for row in rows for code in re.findall(r"`[^`]*`", row) if "|" in code] == []


def test_every_fault_in_reliability_names_its_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")]
    faults = [row for row in rows if len(row) == 3 and row[0] not in ("fault", "---")]
    assert len(faults) > 50
    assert [fault for fault, _, tests in faults if "test_" not in tests] == []


def shell_commands(document: Path) -> Iterator[list[str]]:
    """The words after `cifar100` of each command in the shell blocks of a document."""
    for block in re.findall(r"^```bash\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("();<>|&"):
                    words.append(word)
                    continue
                if "cifar100" in words[:-1]:
                    yield words[words.index("cifar100") + 1 :]
                words = []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_in_a_shell_block_is_understood(document: Path) -> None:
    """Also those of blocks that are not run: see test_readme.py."""
    for name, *arguments in shell_commands(document):
        assert name in COMMANDS, name
        _, unknown = parser_of(name).parse_known_args(arguments)
        assert [word for word in unknown if not word.startswith("$")] == [], [name, *arguments]


def test_a_command_that_does_not_exist_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nfor run in a b; do cifar100 evaluate $run --splt test; done  # --more\n```\n")
    assert list(shell_commands(page)) == [["evaluate", "$run", "--splt", "test"]]
    with pytest.raises(AssertionError, match="--splt"):
        test_every_command_in_a_shell_block_is_understood(page)


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SOURCES = ROOT / "src" / "cifar100"


def words(text: str) -> list[str]:
    """The words of a message; `...` stands for anything."""
    return re.findall(r"\.\.\.|[A-Za-z]+", text)


def template(parts: list[ast.expr]) -> str:
    return "".join(part.value if isinstance(part, ast.Constant) else " ... " for part in parts)


@cache
def templates() -> list[list[str]]:
    """Every text of the program, with `...` for what it puts in."""
    texts = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(template(node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    for path in SOURCES.rglob("*.js"):
        for text in re.findall(r'"[^"\n]*"|`[^`]*`', path.read_text(encoding="utf-8")):
            texts.append(re.sub(r"\$\{[^}]*\}", " ... ", text))
    return [words(text) for text in texts if " " in text]


def is_part_of(message: list[str], text: list[str]) -> bool:
    """Whether the program can print the message, which may begin and end anywhere in the text."""

    @cache
    def equal_words(i: int, j: int) -> float:
        """Return the largest number of equal words of the rest of both, or -inf if the rests do not fit."""
        if i == len(message):
            return 0
        if message[i] == "...":
            return max(equal_words(i + 1, k) for k in range(j, len(text) + 1))
        if j == len(text):
            return float("-inf")
        if text[j] == "...":
            return max(equal_words(k, j + 1) for k in range(i, min(i + 4, len(message)) + 1))
        return 1 + equal_words(i + 1, j + 1) if message[i] == text[j] else float("-inf")

    number = sum(word != "..." for word in message)
    return any(equal_words(0, j) >= number / 2 for j in range(len(text)))


def messages(document: Path) -> list[str]:
    """The messages of the table "When it fails"."""
    _, _, section = document.read_text(encoding="utf-8").partition("## When it fails")
    rows = re.findall(r"^\| (.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("document", TUTORIALS, ids=lambda path: path.stem)
def test_the_program_prints_the_messages_that_a_tutorial_explains(document: Path) -> None:
    unknown = [
        message for message in messages(document) if not any(is_part_of(words(message), text) for text in templates())
    ]
    assert unknown == []


def test_another_message_is_noticed() -> None:
    texts = [words("W&B cannot be reached ( ... ); the run is logged offline.")]
    assert is_part_of(words("W&B cannot be reached (...); the run"), texts[0])
    assert not is_part_of(words("W&B is not reached (...); the run is logged offline"), texts[0])
