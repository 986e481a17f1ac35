"""The report as a file: complete and self-contained, of any run, whatever its names say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable_runs import write_exportable
from measured_runs import HOSTILE_NAMES, info_of, measured_run, save_measurement
from PIL import Image
from small_folder import make_folder
from torch import nn
from trained_networks import INFO, ColourNetwork, write_run

from cifar100 import commands
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import Split, save_split
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.results.report import page
from cifar100.results.report.activation_maps import ActivationMaps
from cifar100.results.report.pictures import Pictures
from cifar100.runs.checkpoints import write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.status import KILLED, RUNNING, write_status

VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "path", "use", "rect", "circle"}


class Parsed(HTMLParser):
    """Every element of a page, its visible text, and whether all elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())

    def count(self, tag: str, **attributes: str) -> int:
        return sum(
            name == tag and all(found.get(key.strip("_")) == value for key, value in attributes.items())
            for name, found in self.elements
        )


def report_of(*runs: RunFolder, **options: Any) -> Parsed:
    path = commands.report([run.path for run in runs], **options)
    content = path.read_text(encoding="utf-8")
    assert len(content.encode()) < 5e6
    assert_self_contained(content)
    return Parsed(content)


def assert_self_contained(content: str) -> None:
    parsed = Parsed(content)
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert str(value).startswith(("data:", "#")), (tag, value)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in content
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', content, re.DOTALL):
        json.loads(data)


def test_a_measured_run_is_shown_with_everything(trained_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = report_of(trained_run)
    assert (trained_run.path / "report.html").is_file()
    content = json.loads(trained_run.evaluation("test").read_text())
    for name, figure in content["metrics"].items():
        shown = f"{figure['value']:.4f}" if name in ("loss", "brier_score") else f"{figure['value']:.2%}"
        assert shown.replace("%", " %") in parsed.text, name
    assert f"{content['calibrated']['ece_equal_mass']:.4f}" in parsed.text
    assert "sha256 test " + json.loads(trained_run.dataset_info.read_text())["sha256"]["test"] in parsed.text
    assert f"cifar100 train --config {as_argument(trained_run.config)}" in parsed.text
    wrong = sum(figure["num_images"] for figure in content["per_class"].values()) - round(200 * _accuracy(content))
    assert parsed.count("div", class_="card loss") == min(40, wrong)
    assert parsed.count("img", alt="where the network looked") == min(40, wrong)
    assert parsed.count("div", class_="card") == 20
    assert re.search(r"test/\d{5}_\w+\.png", parsed.text)
    assert parsed.count("svg", role="img") == 6
    assert "Intended use" in parsed.text
    assert capsys.readouterr().err == ""


def _accuracy(content: dict[str, Any]) -> float:
    return float(content["metrics"]["accuracy"]["value"])


def test_a_run_that_was_not_measured_names_the_command_and_opens_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "read_pictures", lambda *_: pytest.fail("images were opened"))
    run = write_run(Path("logs/bare"), ColourNetwork(6))
    parsed = report_of(run)
    assert "was not measured yet" in parsed.text
    assert "cifar100 evaluate bare copy" in parsed.text
    assert parsed.count("svg", role="img") == parsed.count("img") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("status", "shown"), [(RUNNING, "killed"), (KILLED, "killed"), ("diverged", "diverged")])
def test_an_unfinished_run_is_shown_as_far_as_it_got(tmp_path: Path, status: str, shown: str) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    write_status(run, status, message="<i>the loss is not finite</i>")
    epochs = [{"epoch": 1, "train/loss": 2.0, "train/accuracy": 0.5}, {"epoch": 2, "train/loss": None}]
    run.metrics.write_text(json.dumps({"epochs": epochs}))
    parsed = report_of(run)
    assert parsed.count("span", class_=f"pill {shown}") == 1
    assert "<i>the loss is not finite</i>" in parsed.text
    assert parsed.count("svg", role="img") == 2  # loss, accuracy; there is no learning rate


def test_validation_images_are_named_in_every_heading(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", INFO)
    run.evaluation("test").unlink()
    save_measurement(run, INFO, torch.eye(6)[[0, 1, 2, 2]], torch.arange(4), split="validation")
    path = commands.report(run.path)
    headings = re.findall(r"<h2>(.*?)</h2>", path.read_text(encoding="utf-8"))
    measured = [heading for heading in headings if not heading.startswith(("The run", "Training", "Use and"))]
    assert len(measured) == 6
    assert all(heading.endswith("<small>4 validation images</small>") for heading in measured)
    assert "The run was not measured on test images." in Parsed(path.read_text(encoding="utf-8")).text


@pytest.mark.parametrize("number", [2, 31, 300])
def test_any_number_of_classes_is_shown(tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"kind_{label}" for label in range(number)]
    parsed = report_of(measured_run(tmp_path / "run", info_of(names), num_images=max(60, 2 * number)))
    assert parsed.count("table", class_="cells") == (number <= 30)
    assert parsed.count("div", class_="plot") == (number > 30)
    assert "The pictures are left out" in parsed.text
    assert "does not exist" in capsys.readouterr().err


def test_large_pictures_are_reduced_so_that_the_page_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured_run(tmp_path / "run", info_of([f"class {label}" for label in range(20)], image_size=256))
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    images = np.broadcast_to(noise, (120, *noise.shape))
    monkeypatch.setattr(page, "read_pictures", lambda *_: Pictures(images=images, files=["a.png"] * 120))
    monkeypatch.setattr(page, "evaluated_network", lambda *_: None)
    maps = ActivationMaps(maps=np.ones((40, 256, 256), dtype=np.float32), layer="conv", size=(8, 8))
    monkeypatch.setattr(page, "activation_maps", lambda *_: maps)
    parsed = report_of(run)  # noise hardly compresses
    assert parsed.count("img", alt="where the network looked") == 40
    sides = set()
    for tag, attributes in parsed.elements:
        if tag == "img" and attributes.get("alt"):
            data = str(attributes["src"]).removeprefix("data:image/png;base64,")
            sides.add(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sides == {(96, 96), (48, 48)}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_names_are_text_whatever_they_say(tmp_path: Path) -> None:
    many = [*HOSTILE_NAMES, *(f"{name}{label}" for label in range(5) for name in HOSTILE_NAMES)]
    for names in (HOSTILE_NAMES, many):  # as a table, and as a picture with hover text
        superclasses = {"superclass_names": HOSTILE_NAMES[:2], "class_to_superclass": [0, 1] * (len(names) // 2)}
        info = info_of(names, name=HOSTILE_NAMES[0], **superclasses)
        run = measured_run(tmp_path / f"{len(names)}<b>", info)
        run.training_log.write_text("2026-01-01 00:00:00  network  <b>net</b>, 5 parameters\n")
        parsed = report_of(run)
        for tag in ("b", "i", "img", "script"):
            for name, attributes in parsed.elements:
                assert name != tag or not attributes.keys() & {"onerror", "onmouseover"}
        assert parsed.count("script") == (1 if len(names) == 6 else 2)
        assert HOSTILE_NAMES[0] in parsed.text
        assert "{{ 7 * 7 }}" in parsed.text
        assert "d\\u202e$x$_1" in parsed.text
        assert "<b>net</b>" in parsed.text
        assert "e" * 61 not in parsed.text


class Convolutional(nn.Sequential):
    """A custom network that can be mapped."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
        )


@pytest.fixture
def custom_run(tmp_path: Path) -> RunFolder:
    """A measured run of a custom network from Python, with its images."""
    info = make_folder(tmp_path / "data")
    torch.manual_seed(0)
    run = write_run(tmp_path / "run", Convolutional(5), info=info, data_root=tmp_path / "data")
    run.custom_parts.write_text(json.dumps({"network": "Convolutional"}))
    save_split(Split(train=np.arange(40), validation=np.arange(40, 60)), run.split)
    for split in ("test", "validation"):
        commands.evaluate(run.path, split=split, network=Convolutional)  # type: ignore[arg-type]
    return run


def test_a_custom_network_has_maps_if_it_is_given(custom_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = report_of(custom_run, network=Convolutional)
    assert parsed.count("img", alt="where the network looked") == parsed.count("div", class_="card loss") > 0
    assert "test_images/" in parsed.text
    assert capsys.readouterr().err == ""
    parsed = report_of(custom_run)
    assert parsed.count("img", alt="where the network looked") == 0
    assert parsed.count("div", class_="large single") > 0
    assert "The maps of where the network looked are left out" in parsed.text
    assert "network=..., calibrate=True)" in parsed.text  # how to calibrate it
    assert "the report has no activation maps: " in capsys.readouterr().err


def test_the_file_names_are_those_of_the_validation_images(custom_run: RunFolder) -> None:
    custom_run.evaluation("test").unlink()
    names = set(re.findall(r"train_images/(\d+)\.png", report_of(custom_run, network=Convolutional).text))
    assert names
    assert names <= {f"{index:03d}" for index in range(40, 60)}


def test_the_image_files_of_a_release_are_not_needed(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(tiny_data, tmp_path / "data")
    run = write_exportable(tmp_path / "run", root)
    commands.evaluate(run)
    shutil.rmtree(DataFolder(root).images)  # as in training, the packed arrays suffice
    capsys.readouterr()
    parsed = report_of(run)
    assert parsed.count("img", alt="where the network looked") == parsed.count("div", class_="card loss") > 0
    assert re.search(r"test/\d{5}_\w+\.png", parsed.text)
    assert capsys.readouterr().err == ""


def _remove(run: RunFolder) -> None:
    shutil.rmtree(run.path.parent / "data")


def _measure_others(run: RunFolder) -> None:
    other = run.path.parent / "other"
    make_folder(other, num_test=11)
    commands.evaluate(run.path, network=Convolutional, data_root=other)


def _train_further(run: RunFolder) -> None:
    write_run(run.path.parent / "later", Convolutional(5), info=INFO)
    content = json.loads(run.evaluation("test").read_text())
    run.evaluation("test").write_text(json.dumps({**content, "epoch": 4}))


@pytest.mark.parametrize(
    ("change", "sentence", "warning"),
    [
        (_remove, "The pictures are left out", "has no pictures: .* does not exist"),
        (_measure_others, "The pictures are left out", "has no pictures: .* was measured on other test images than"),
        (_train_further, "The maps of where the network looked are left out", "epoch 5 now, but epoch 4 was measured"),
    ],
)
def test_what_cannot_be_shown_is_left_out_with_a_sentence(
    custom_run: RunFolder,
    change: Callable[[RunFolder], None],
    sentence: str,
    warning: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(custom_run)
    capsys.readouterr()
    parsed = report_of(custom_run, network=Convolutional)
    assert sentence in parsed.text
    assert ("11 test images of other data" in parsed.text) == (change is _measure_others)
    earlier = "The figures are of earlier weights: best.ckpt is from epoch 5 now, but epoch 4 was measured."
    assert (earlier in parsed.text) == (change is _train_further)
    assert re.search(warning, capsys.readouterr().err)


def test_a_perfect_network_has_no_losses(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", INFO)
    save_measurement(run, INFO, 9 * torch.eye(6), torch.arange(6))
    parsed = report_of(run)
    assert "Every image is classified correctly." in parsed.text
    assert "Recall is 100.0 % for every class." in parsed.text
    assert "confused pair" not in parsed.text


def test_the_optional_parts_are_shown_if_they_were_measured(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", INFO)
    assert "Not measured. cifar100 evaluate" in report_of(run).text
    assert "The figures are of earlier weights" not in report_of(run).text
    figure = {"value": 0.4321, "interval": [0.4, 0.5], "num_images": 4}
    save_measurement(
        run, INFO, torch.eye(6), torch.arange(6), robustness={"duplicates": {"list": "<b>", "without": figure}}
    )
    parsed = report_of(run)
    assert "without 43.21 % 40.00 % to 50.00 % 4 list: <b>" in parsed.text
    assert "Not measured." not in parsed.text


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_several_runs_are_side_by_side(trained_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    other = write_run(tmp_path / "logs" / "_<b>other", ColourNetwork(6))
    again = shutil.copytree(trained_run.path, tmp_path / "logs" / "again")
    parsed = report_of(trained_run, other, RunFolder(again), trained_run)
    assert (Path("logs") / "report-trained-_<b>other-again.html").is_file()
    assert "3 runs side by side" in parsed.text
    assert "_<b>other" in parsed.text
    assert "not measured" in parsed.text
    assert "model.widths" in parsed.text  # a setting that differs
    assert "training.seed" not in parsed.text
    assert parsed.count("svg", role="img") == 4
    assert "different images" not in parsed.text
    assert report_of(trained_run, RunFolder(again)).count("svg", role="img") == 5  # with error by coverage


def test_earlier_weights_are_named_side_by_side(tmp_path: Path) -> None:
    runs = [measured_run(tmp_path / name, INFO) for name in ("same", "longer")]
    write_checkpoint({"state_dict": {}, "epoch": 8}, runs[1].checkpoints / "best.ckpt")
    text = report_of(*runs, output=tmp_path / "both.html").text
    assert "The figures of longer are of earlier weights: best.ckpt is from epoch 9 now, but epoch 5 was" in text
    assert "The figures of same" not in text


def test_runs_on_different_images_are_not_compared(trained_run: RunFolder, tmp_path: Path) -> None:
    parsed = report_of(trained_run, measured_run(tmp_path / "run", INFO), output=tmp_path / "both.html")
    assert "were measured on different images" in parsed.text
    assert parsed.count("section", id="coverage") == parsed.count("section", id="classes") == 0


def test_the_names_of_files_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [write_run(tmp_path / "logs" / (letter * 100), ColourNetwork(6)) for letter in "ab"]
    assert commands.report([run.path for run in runs]) == Path("logs") / f"report-{'a' * 100}-and-1-more.html"


@pytest.mark.parametrize("runs", [[], ["nothing"]])
def test_runs_that_do_not_exist_are_refused(runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"at least one run|found no run"):
        commands.report(runs)


def test_a_report_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    run.report.mkdir()
    with pytest.raises(UserError, match=r"report.html cannot be written .*, or choose another file with --output"):
        commands.report(run.path)
    assert commands.report(run.path, output=tmp_path / "here.html") == tmp_path / "here.html"
    assert not list(run.path.glob(".*partial"))


def test_only_an_earlier_report_is_replaced(trained_run: RunFolder, tmp_path: Path) -> None:
    labels = tmp_path / "train.csv"
    labels.write_text("file,label\n")
    with pytest.raises(UserError, match=r"train.csv already exists and is not a report; choose another --output"):
        commands.report(trained_run, output=labels)
    assert labels.read_text() == "file,label\n"
    with pytest.raises(UserError, match="is not a report"):
        commands.report(trained_run, output=trained_run.config)
    written = commands.report(trained_run, output=tmp_path / "x.html")
    assert commands.report(trained_run, output=written) == written


def test_the_folder_of_a_report_is_created(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    path = tmp_path / "new" / "folder" / "x.html"
    assert commands.report(run, output=path) == path
    assert path.is_file()


def test_a_run_that_is_given_again_is_named(trained_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.report([trained_run, trained_run.path.absolute()]) == trained_run.report
    assert "is given more than once; it counts once." in capsys.readouterr().err


def test_a_run_without_images_to_measure_names_no_command(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6), info=replace(INFO, num_test=0))
    save_split(Split(train=np.arange(6), validation=np.arange(0)), run.split)
    text = commands.report(run, output=tmp_path / "x.html").read_text()
    assert "neither validation nor test images" in text
    assert "cifar100 evaluate" not in text


def test_the_limits_name_the_side_of_the_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = measured_run(tmp_path / "logs" / "large", info_of(("cat", "dog"), image_size=64))
    text = page.write_report([run]).read_text(encoding="utf-8")
    assert "It was trained on images of 64 x 64 pixels" in text
