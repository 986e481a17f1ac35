"""Lists of near-duplicates and of label errors in the published forms, made by tests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cifar100.data.sources.published_lists import ListFile

HEADER = "TestID,TrainID,Distance,Judgment"


def list_file(content: bytes | str) -> ListFile:
    content = content.encode() if isinstance(content, str) else content
    return ListFile(
        content=content,
        place="list",
        title="list",
        is_published=False,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def duplicates_text(*rows: tuple[Any, ...]) -> str:
    return "\r\n".join([HEADER, *(",".join(map(str, row)) for row in rows), ""])


def entry(image: int, given: int, guessed: int, votes: tuple[int, int, int, int]) -> dict[str, Any]:
    """votes: for given, guessed, neither, both."""
    return {
        "id": image,
        "url": f"https://example.org/{image}.png",
        "given_original_label": given,
        "given_original_label_name": "a",
        "our_guessed_label": guessed,
        "our_guessed_label_name": "b",
        "mturk": dict(zip(("given", "guessed", "neither", "both"), votes, strict=True)),
    }


def errors_text(*entries: dict[str, Any]) -> str:
    return json.dumps(list(entries), indent=2)
