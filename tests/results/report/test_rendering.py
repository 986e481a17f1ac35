"""Figures as SVG and pixels as PNG inside of a page, and how numbers are written."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cifar100.results.report.rendering.figures import compared_curves, training_curves
from cifar100.results.report.rendering.inline import FOREGROUND, MAX_CURVES, curve_style, new_axes, png_uri, svg
from cifar100.results.report.rendering.templates import duration, magnitude, metric, percent

EPOCHS = [{"epoch": epoch, "train/loss": 4.0 / epoch, "val/loss": 5.0 / epoch} for epoch in range(1, 6)]


def test_a_figure_takes_the_colours_and_the_font_of_the_page() -> None:
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], **curve_style(1))
    axes.plot([0, 1], [1, 0], "o", color=FOREGROUND)
    axes.set_xlabel("a < b & c")
    text = svg(figure, name="first", description="<b>rising</b>")
    root = ElementTree.fromstring(text.replace("xlink:", ""))
    assert root.attrib["viewBox"] == "0 0 360 240"
    assert root[0].text == "<b>rising</b>"
    assert "".join(root.itertext()).count("a < b & c") == 1
    assert "currentColor" in text
    assert "var(--series-2)" in text
    assert "#0102" not in text
    assert "<style" not in text
    assert "font-family" not in text
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert all(name.startswith("first-") for name in ids)
    links = [element.attrib["href"].removeprefix("#") for element in root.iter() if "href" in element.attrib]
    assert links
    assert set(links) <= set(ids)


def test_names_in_a_description_do_not_keep_the_page_from_being_written() -> None:
    figure, _ = new_axes()
    text = svg(figure, name="first", description="run \udcff\u202e")  # the name of a folder that is not UTF-8
    assert "<title>run \\udcff\\u202e</title>" in text
    assert text.encode()


def test_no_two_curves_look_the_same() -> None:
    assert len({str(curve_style(index)) for index in range(MAX_CURVES)}) == MAX_CURVES == 32


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_are_kept(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    content = base64.b64decode(png_uri(pixels).removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(content))), pixels)


def test_curves_without_values_are_left_out() -> None:
    assert training_curves([]) == []
    (loss,) = training_curves(EPOCHS)
    assert (loss.title, loss.legend) == ("Loss", ("training", "validation"))
    (only,) = training_curves([{"epoch": 1, "train/loss": 2.0, "val/loss": float("nan")}])
    assert only.legend == ("training", "validation")
    assert [figure.title for figure in compared_curves({"a": EPOCHS, "b": []})] == ["Validation loss", "Training loss"]


def test_values_of_a_divergence_are_drawn() -> None:
    (figure,) = training_curves([{"epoch": 1, "train/loss": 1.0}, {"epoch": 2, "train/loss": 1e12}])
    powers = [line for line in figure.svg.splitlines() if "font-size: 7px" in line]
    assert len(powers) >= 4  # a logarithmic axis
    assert "<title>Loss by epoch, at the end: training 1e+12</title>" in figure.svg


def test_numbers_are_short() -> None:
    assert [magnitude(value) for value in (950, 82_040, 2_524_984, 5.2e9, 1.5e12)] == [
        *("950", "82,040", "2.52 M", "5.2 G", "1.5 T")
    ]
    assert [duration(seconds) for seconds in (59.4, 61, 3599, 3600, 90_061)] == [
        *("59 s", "1 min 1 s", "59 min 59 s", "1 h 0 min", "25 h 1 min")
    ]
    assert (percent(0.1234), percent(0.5, 0)) == ("12.3&nbsp;%", "50&nbsp;%")
    assert (metric(0.51234, "accuracy"), metric(0.51234, "loss")) == ("51.23&nbsp;%", "0.5123")
