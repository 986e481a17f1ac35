"""The page: complete, without a network, safe."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pytest

from cifar100.data.audit import page
from cifar100.data.audit.findings import Finding
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.page import ClassCount, Methods, describe_balance, render_page

FINDINGS = [
    Finding(kind="exact_duplicate", position=2, other=7, score=1),
    Finding(kind="near_duplicate", position=3, other=1, score=0.8),
    Finding(kind="near_duplicate", position=9, other=8, score=0.7),
    Finding(kind="label", position=4, suggested=1, score=0.75),
    Finding(kind="oddity", position=0, score=0.25, reason="too dark"),
]

METHODS = Methods(summary="Found with <x>.", near_duplicates="By hash.", labels="By cleanlab.", odd="By distance.")


def render(images: AuditedImages, findings: list[Finding]) -> str:
    return render_page(findings, images, METHODS, table="audit/audit.csv", command="cifar100 audit").decode()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_shows_the_pictures_and_needs_nothing_else(images: AuditedImages) -> None:
    text = render(images, FINDINGS)
    pictures = [attributes for tag, attributes in read(text).tags if tag == "img"]
    assert len(pictures) == 8
    start = "data:image/png;base64,"
    decoded = [base64.b64decode(picture["src"].removeprefix(start)) for picture in pictures]
    first = cv2.imdecode(np.frombuffer(decoded[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (first == images.pixels[2].transpose(1, 2, 0)).all()
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_large_images_are_shown_reduced(images: AuditedImages) -> None:
    enlarged = replace(images, pixels=images.pixels[np.arange(10)].repeat(7, axis=2).repeat(7, axis=3))  # 224 x 224
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', render(enlarged, FINDINGS))
    decoded = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]
    assert [picture.shape for picture in decoded] == [(96, 96, 3)] * 8


def test_names_of_classes_are_text(images: AuditedImages) -> None:
    text = render(images, FINDINGS)
    assert "<b>dog" not in text
    assert "&lt;b&gt;dog&lt;/b&gt;" in text
    assert "Found with &lt;x&gt;." in text


def test_the_counts_say_where_the_pairs_lie(images: AuditedImages) -> None:
    text = render(images, FINDINGS)
    found = re.findall(r'href="#(\w+)">.*?</tr>', text, re.DOTALL)
    assert found == ["exact_duplicate", "near_duplicate", "label", "oddity"]
    cells = re.findall(r'<td class="number">([^<]*)</td>', text.partition("</table>")[0])
    rows = [cells[start : start + 5] for start in range(0, 20, 5)]
    assert rows == [
        ["1", "0", "1", "0", "1"],
        ["2", "1", "0", "1", "1"],
        ["1", "1", "–", "0", "–"],
        ["1", "1", "–", "0", "–"],
    ]


def test_only_the_first_are_shown(images: AuditedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_SHOWN", 3)
    many = [Finding(kind="label", position=i % 10, suggested=0, score=0.9) for i in range(1234)]
    text = render(images, many)
    assert "The first 3 of 1,234; all are in" in text
    assert text.count("<img") == 3
    assert text.count("None found.") == 3


def test_the_balance_of_the_classes() -> None:
    def classes(*counts: int) -> list[ClassCount]:
        return [ClassCount(name=f"c{i}", train=n, test=0, share=n / max(counts)) for i, n in enumerate(counts)]

    assert describe_balance(classes(5, 5)) == "Balanced: 5 training images in each of 2 classes."
    assert describe_balance(classes(10, 4, 8)) == (
        "From 4 training images (c1) to 10 (c0), 2.5 times as many; the median is 8."
    )
    assert "some class has none" in describe_balance(classes(10, 0))
