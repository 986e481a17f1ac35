"""`predict`: its options, what it prints and writes, and its exit status."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx_files import model
from PIL import Image
from shells import shell as posix_shell
from trained_networks import INFO

from cifar100 import commands
from cifar100.cli.groups import prediction as group
from cifar100.cli.main import run_command_line
from cifar100.errors import Incomplete, UserError
from cifar100.results.prediction.stream import ClassProbability, Prediction

DEFAULTS: dict[str, Any] = {
    "top": 5,
    "probabilities": False,
    "checkpoint": "best",
    "calibrated": False,
    "errors": "keep",
}


class FakeStream:
    """Two classes for every image; one whose name begins with `bad` cannot be read."""

    def __init__(self, images: list[str], *, top: int, probabilities: bool) -> None:
        self.info = INFO
        self.total = len(images)
        self._images = images
        self._top = top
        self._every = dict.fromkeys("abcdef", 0.125) if probabilities else None

    def __iter__(self) -> Iterator[Prediction]:
        classes = [
            ClassProbability(name="apple", probability=0.75, superclass="fruit"),
            ClassProbability(name="bear", probability=0.001, superclass=None),
        ]
        for image in self._images:
            if image.startswith("bad"):
                yield Prediction(image=image, classes=[], error=f"{image} is damaged.")
            else:
                yield Prediction(image=image, classes=classes[: self._top], probabilities=self._every)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The calls of `predict_stream`."""
    found: list[Any] = []

    def fake(run: str, images: list[str], **options: Any) -> FakeStream:
        found.append((run, images, options))
        return FakeStream(images, top=options["top"], probabilities=options["probabilities"])

    monkeypatch.setattr(commands, "predict_stream", fake)
    monkeypatch.chdir(tmp_path)
    return found


def test_predictions_are_shown_as_tables(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["predict", "x", "a[1].png", "b.png", "--top", "2"])
    assert calls == [("x", ["a[1].png", "b.png"], {**DEFAULTS, "top": 2})]
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "a[1].png"
    assert lines[1].split() == ["75.00%", "apple", "fruit", "█" * 22]
    assert lines[2].split() == ["0.10%", "bear", "█"]
    assert lines[3] == "b.png"
    assert captured.err == ""


def test_json_goes_to_standard_output(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["predict", "x", "a.png", "--json", "--probabilities"])
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["image"] == "a.png"
    assert entry["classes"][0] == {"name": "apple", "probability": 0.75, "superclass": "fruit"}
    assert entry["probabilities"] == dict.fromkeys("abcdef", 0.125)


def test_csv_goes_to_standard_output(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["predict", "x", "a.png", "--csv", "--top", "1"])
    assert capsys.readouterr().out == "image,class,probability,superclass,error\na.png,apple,0.75,fruit,\n"


@pytest.mark.parametrize("name", ["new/folder/out.csv", "out.JSON"])
def test_an_output_is_written_whole(name: str, calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # predictions are replaced
        run_command_line(["predict", "x", "a.png", "b.png", "--output", name])
    content = Path(name).read_text()
    found = json.loads(content) if name.endswith("JSON") else list(csv.DictReader(content.splitlines()))
    assert [entry["image"] for entry in found] == ["a.png", "b.png"]
    assert [path.name for path in Path(name).parent.iterdir()] == [Path(name).name]
    assert capsys.readouterr().out == 2 * f"{name}: predictions of 2 images\n"


def test_an_image_that_cannot_be_read_is_a_line_and_the_exit_status(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"1 of 2 images could not be read; the output says why for each"
    with pytest.raises(Incomplete, match=message) as caught:
        run_command_line(["predict", "x", "bad.png", "b.png"])
    assert caught.value.exit_status == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["bad.png is damaged.", "b.png"]
    with pytest.raises(Incomplete, match=message):
        run_command_line(["predict", "x", "b.png", "bad.png", "--output", "out.csv"])
    assert Path("out.csv").read_text().splitlines()[2].startswith("bad.png,,,")
    assert Path("out.csv").read_text().endswith(",bad.png is damaged.\n")
    with pytest.raises(Incomplete, match=r"^the image could not be read; the output says why\.$"):
        run_command_line(["predict", "x", "bad.png"])
    with pytest.raises(Incomplete, match=r"^none of the 2 images could be read; the output says why for each\.$"):
        run_command_line(["predict", "x", "bad.png", "bad.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "out.txt"], r"--output is out.txt, expected a name that ends in .csv or .json; or add --csv or"),
        (["--output", "out.csv", "--json"], r"--output is out.csv, but --json is given; leave one of them out"),
        (["--csv", "--json"], "--json and --csv cannot be used together; use only one"),
        (["--probabilities"], r"needs --csv or --json; to see all classes in tables, use a large --top"),
        (["--output", "mine.csv"], r"mine.csv already exists and holds no predictions"),
        (["--output", ""], r"'' is not a path"),
    ],
)
def test_contradictions_are_refused_before_anything_is_loaded(
    options: list[str], message: str, calls: list[Any]
) -> None:
    Path("mine.csv").write_text("a,b\n")
    with pytest.raises(UserError, match=message):
        run_command_line(["predict", "x", "a.png", *options])
    assert not calls
    assert Path("mine.csv").read_text() == "a,b\n"


def test_an_output_that_cannot_be_written_is_one_line(calls: list[Any]) -> None:
    Path("file").touch()
    with pytest.raises(UserError, match=r"file.out.csv cannot be written \(.*\); move away what is in its place"):
        run_command_line(["predict", "x", "a.png", "--output", "file/out.csv"])


def test_progress_is_shown_for_many_images_on_standard_error(
    calls: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"{number}.png" for number in range(300)]
    run_command_line(["predict", "x", *many, "--csv"])
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 301
    assert captured.err.startswith("Predicting: 300 in ")
    monkeypatch.setattr(group, "is_terminal", lambda stream: True)
    run_command_line(["predict", "x", *many])
    assert capsys.readouterr().err == ""  # the tables are the progress


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """The command line of a process that classifies images in `images`, of which one is damaged."""
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (10, 10 + number, 12)).save(tmp_path / f"images/{number}.png")
    (tmp_path / "images/4.png").write_text("no image")
    return [sys.executable, "-m", "cifar100", "predict", str(tmp_path / "model.onnx"), str(tmp_path / "images")]


def test_a_process_says_by_its_status_that_an_image_was_damaged(program: list[str]) -> None:
    done = subprocess.run([*program, "--csv", "--top", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr == "cifar100: 1 of 4 images could not be read; the output says why for each.\n"


@pytest.mark.parametrize(
    ("shell", "status", "message"),
    [
        ("{} --csv > /dev/full", 2, "standard output cannot be written"),
        ("{} --json | true; exit ${{PIPESTATUS[0]}}", 141, ""),
    ],
)
def test_data_that_do_not_arrive_are_no_success(shell: str, status: int, message: str, program: list[str]) -> None:
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = shell.format(" ".join(program))
    done = subprocess.run([posix_shell(), "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == bool(message)


def test_an_image_on_standard_input(program: list[str], tmp_path: Path) -> None:
    content = (tmp_path / "images/0.png").read_bytes()
    done = subprocess.run([*program[:-1], "-", "--json"], input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["image"], found["classes"][0]["name"]) == ("-", "blue")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_does_not_wait_for_a_server(program: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and says nothing
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.png"
        started = subprocess.Popen(
            [*program, url, "--output", str(tmp_path / "out.csv")],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_PROXY": "*"},
        )
        connection, _ = server.accept()
        with connection:
            started.send_signal(signal.SIGINT)
            _, errors = started.communicate(timeout=10)
    assert started.returncode == 130
    assert errors == "cifar100: interrupted.\n"
    assert not list(tmp_path.glob("*.csv*"))
    assert not list(tmp_path.glob(".*partial"))
