"""Which image a verdict is about, and what comes first."""

from __future__ import annotations

import numpy as np

from cifar100.data.audit.duplicates import Pairs
from cifar100.data.audit.findings import duplicate_findings, label_findings, oddity_findings
from cifar100.data.audit.images import AuditedImages
from cifar100.data.audit.label_errors import Suspects
from cifar100.data.audit.oddities import Oddity


def test_a_verdict_is_about_the_training_image_or_the_later_one(images: AuditedImages) -> None:
    places = np.array([[0, 2], [1, 7], [6, 8]])
    pairs = Pairs(places=places, similarity=np.array([0.9, 0.8, 0.7], np.float32))
    found = duplicate_findings("near_duplicate", pairs, images)
    assert [(finding.position, finding.other) for finding in found] == [(2, 0), (1, 7), (8, 6)]


def test_equal_pairs_begin_with_those_that_harm_most(images: AuditedImages) -> None:
    places = np.array([[0, 2], [0, 6], [0, 3], [1, 6]])
    pairs = Pairs(places=places, similarity=np.ones(4, np.float32))
    found = duplicate_findings("exact_duplicate", pairs, images)
    across = [(finding.position, finding.other) for finding in found]
    assert across == [(1, 6), (3, 0), (0, 6), (2, 0)]  # classes and splits, classes, splits, neither


def test_suspects_are_mapped_to_their_images() -> None:
    suspects = Suspects(rows=np.array([2, 0]), suggested=np.array([1, 0]), scores=np.array([0.9, 0.6]))
    found = label_findings(suspects, [10, 20, 30])
    assert [(finding.position, finding.suggested, finding.score) for finding in found] == [(30, 1, 0.9), (10, 0, 0.6)]


def test_oddities_are_ordered_by_score() -> None:
    found = oddity_findings(Oddity(position=p, reason="odd", score=s) for p, s in [(1, 0.1), (2, 0.9), (0, 0.9)])
    assert [finding.position for finding in found] == [0, 2, 1]
