"""What an audit finds: one finding for each pair or image, the worst first within a kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cifar100.data.audit.duplicates import Pairs
from cifar100.data.audit.images import ImageList
from cifar100.data.audit.label_errors import Suspects
from cifar100.data.audit.oddities import Oddity

Kind = Literal["exact_duplicate", "near_duplicate", "label", "oddity"]

KINDS: tuple[Kind, ...] = ("exact_duplicate", "near_duplicate", "label", "oddity")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should look at."""

    kind: Kind
    position: int
    """Of the image that a verdict is about; a training image, unless both are test images."""

    other: int | None = None
    """Position of the image of which it is a duplicate."""

    suggested: int | None = None
    """Label that fits better."""

    score: float
    """0 to 1, 1 is the worst. See `Pairs.similarity`, `Suspects.scores` and `Oddity.score`."""

    reason: str = ""
    """Why an image is an oddity."""


def duplicate_findings(kind: Kind, pairs: Pairs, images: ImageList) -> list[Finding]:
    """Return a finding for each pair, about its training image; if both are of one split, about the later one.

    Pairs of equal similarity begin with those of different classes, then those of different splits.
    """
    findings = []
    for (low, high), similarity in zip(pairs.places.tolist(), pairs.similarity.tolist(), strict=True):
        position, other = (high, low) if images.split(low) == images.split(high) else (low, high)
        findings.append(Finding(kind=kind, position=position, other=other, score=min(similarity, 1.0)))
    return sorted(findings, key=lambda finding: (-finding.score, *_harmless(finding, images)))


def label_findings(suspects: Suspects, positions: Iterable[int]) -> list[Finding]:
    """Return a finding for each suspect. positions: of the images whose probabilities were examined."""
    places = list(positions)
    rows = zip(suspects.rows.tolist(), suspects.suggested.tolist(), suspects.scores.tolist(), strict=True)
    return [Finding(kind="label", position=places[row], suggested=label, score=score) for row, label, score in rows]


def oddity_findings(oddities: Iterable[Oddity]) -> list[Finding]:
    """Return a finding for each odd image, by score."""
    findings = [
        Finding(kind="oddity", position=oddity.position, score=oddity.score, reason=oddity.reason)
        for oddity in oddities
    ]
    return sorted(findings, key=lambda finding: (-finding.score, finding.position))


def crosses_classes(finding: Finding, images: ImageList) -> bool:
    """Return whether a pair has two labels."""
    return finding.other is not None and bool(images.labels[finding.position] != images.labels[finding.other])


def crosses_splits(finding: Finding, images: ImageList) -> bool:
    """Return whether a pair has a training and a test image."""
    return finding.other is not None and images.split(finding.position) != images.split(finding.other)


def _harmless(finding: Finding, images: ImageList) -> tuple[bool, bool, int, int]:
    crossing = not crosses_classes(finding, images), not crosses_splits(finding, images)
    return *crossing, finding.position, finding.other or 0
