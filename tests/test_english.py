"""Phrases that a native engineer would not write do not return. A small list, without false positives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = (
    "*.md",
    "docs/**/*.md",
    "docs/*.py",
    "examples/*.py",
    "src/**/*.py",
    "src/**/*.yaml",
    "benchmarks/*.py",
    "notebooks/*.ipynb",
)
FILES = sorted(path for place in PLACES for path in ROOT.glob(place))

INSTEAD = {
    r"in the midst|in its midst": "mid-epoch, mid-run",
    r"told apart": "reported separately",
    r"(?:of|by|from) strangers": "untrusted",
    r"goes on (?:with|where|after)": "resumes",
    r"the first process": "rank 0",
    r"(?:no|not a) finite number": "not finite",
    r"the house|this house|a wing|ten rooms|which room|only room": "package, module",
    r"mend(?:s|ed|ing)?": "fix",
    r", too[.:;]": "also",
    r"by heart": "memorise, fit",
    r"(?:in|the same|other) arithmetic": "precision",
    r"(?:with|of|has) (?:its|their) own draws|draws of its own": "random parameters",
    r"what (?:has )?be(?:came|come) of": "status",
    r"Of what|Of which": "subject first",
    r"beside other work": "with other work running",
    r"quiet (?:machine|GPU|CPU)": "idle machine",
    r"in (?:the )?place of": "instead of",
    r"but for": "except for",
    r"anew": "again",
    r"exclude each other": "cannot be used together",
    r"signs? of life": "heartbeat",
    r"some (?:hundred|thousand)": "a few hundred",
    r"(?:stays?|stayed|leaves? them|left) closed": "are not used, are not opened",
    r"makes? [\d,]+ (?:GFLOP|images)": "reaches, trains",
    r"(?:network|loss|data|data module|callback)s? of (?:your|one.s) own": "custom",
}
"""Phrase, as a regular expression between word boundaries -> what to write instead."""


TITLE_IN_LOWERCASE = re.compile(
    r"""(?:\bprogress\(f?"|\badd_column\("|<th(?:\ [^>{]*)?>(?:<(?:button|span)[^>]*>)?)[a-z][a-z ]+""", re.VERBOSE
)
"""A long step, or the heading of a column on the terminal or in a page, that does not begin with a capital letter."""


def forbidden(text: str) -> list[str]:
    """Return the forbidden phrases of a text, each with its replacement."""
    joined = " ".join(text.split())
    return [
        f"{match[0]!r}: write {better!r}"
        for pattern, better in INSTEAD.items()
        for match in re.finditer(rf"\b(?:{pattern})(?!\w)", joined)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_no_forbidden_phrase(path: Path) -> None:
    assert not forbidden(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "It is saved in the\n midst of an epoch.",
        "Saved at the end, too.",
        "the loss is no finite number",
        "all settings but\nfor the seed",
        "A product makes 221 GFLOP/s beside other work.",
    ],
)
def test_a_forbidden_phrase_is_found(text: str) -> None:
    assert forbidden(text)


def test_ordinary_words_are_allowed() -> None:
    assert not forbidden("house, kangaroo; make room; recommended; too many, too large")


def test_titles_begin_with_a_capital_letter() -> None:
    files = [path for ending in ("py", "html", "jinja") for path in ROOT.glob(f"src/**/*.{ending}")]
    found = {path: TITLE_IN_LOWERCASE.findall(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: titles for path, titles in found.items() if titles}
    for text in (
        'progress("reading", total=1)',
        'table.add_column("run")',
        '<th scope="col"><button>class</button></th>',
    ):
        assert TITLE_IN_LOWERCASE.search(text)
