"""The optional parts of an evaluation become rows, whatever they are called."""

from __future__ import annotations

from typing import Any

import pytest

from cifar100.results.report.robustness import measured_parts


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.1, value + 0.1], "num_images": 50}


PARTS = {
    "duplicates": {
        "list": "ciFAIR",
        "without_duplicates": estimate(0.6),
        "by_judgment": {"exact": estimate(0.9), "near": estimate(0.8)},
    },
    "corruptions": {
        "source": "generated",
        "is_official": False,
        "left_out": ["snow", "jpeg_compression"],
        "num_images": 1234,
        "mean_accuracy": estimate(0.4),
        "by_corruption": {"fog": {"mean": estimate(0.5), "by_severity": [estimate(0.7), estimate(0.3)]}},
        "extra": {"spatter": {"mean": estimate(0.2), "by_severity": [estimate(0.2)]}},
    },
}


def test_every_figure_is_a_row() -> None:
    fair, corruptions = measured_parts({"metrics": {}, "robustness": PARTS})
    assert fair.title == "Without near-duplicates of training images"
    assert [(row.name, row.value) for row in fair.rows] == [("without duplicates", 0.6), ("exact", 0.9), ("near", 0.8)]
    assert fair.rows[0].interval == pytest.approx((0.5, 0.7))
    assert (fair.rows[0].num_images, fair.notes, fair.has_severities) == (50, {"list": "ciFAIR"}, False)
    names = [(row.name, row.value, row.severities) for row in corruptions.rows]
    assert names == [("mean accuracy", 0.4, ()), ("fog", 0.5, (0.7, 0.3)), ("extra: spatter", 0.2, (0.2,))]
    assert corruptions.has_severities
    assert corruptions.notes == {"source": "generated", "left out": "snow, jpeg compression", "num images": "1,234"}


@pytest.mark.parametrize(
    "content",
    [None, "x", {}, {"duplicates": None}, {"duplicates": {}}, {"duplicates": "x"}, {"corruptions": {"a": {"b": 1}}}],
)
def test_what_was_not_measured_is_no_part(content: Any) -> None:
    assert measured_parts({"robustness": content}) == []
    assert measured_parts({}) == []


def test_nesting_without_end_is_left_out() -> None:
    deep: dict[str, Any] = {}
    deep["deeper"] = deep
    assert measured_parts({"robustness": {"duplicates": deep}}) == []
