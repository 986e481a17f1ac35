"""Exported ONNX files in use: predictions without torch, evaluation, and files that are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exportable_runs import with_classes
from onnx import TensorProto, helper
from onnx_files import NODES, facts, model
from PIL import Image
from trained_networks import INFO

from cifar100 import commands
from cifar100.cli.main import run_command_line
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.process import packages
from cifar100.results.exported import untrusted_onnx
from cifar100.results.exported.facts import KEY, parse_facts
from cifar100.results.exported.onnx_network import exported_file, load_exported


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A large, rather green image."""
    path = tmp_path / "green.png"
    Image.new("RGB", (300, 200), (10, 14, 12)).save(path)
    return path


def save(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_predictions_are_the_networks_probabilities(tmp_path: Path, image: Path) -> None:
    path = save(model(), tmp_path)
    (prediction,) = commands.predict(path, image, top=2)
    expected = np.exp([14.0, 12.0]) / np.exp([10.0, 12.0, 14.0]).sum()
    assert [entry.name for entry in prediction.classes] == ["green", "blue"]
    assert [entry.probability for entry in prediction.classes] == pytest.approx(expected, rel=1e-5)


def test_a_file_is_called_as_a_network_of_a_run(tmp_path: Path, image: Path) -> None:
    network = commands.load_model(save(model(), tmp_path))
    pixels = np.full((300, 32, 32, 3), (10, 14, 12), np.uint8)
    expected = np.exp([10.0, 14.0, 12.0]) / np.exp([10.0, 12.0, 14.0]).sum()
    for given, count in ((image, 1), ([image, pixels[0]], 2), (pixels, 300), ([], 0)):
        found = network(given)
        assert isinstance(found, np.ndarray)
        assert found == pytest.approx(np.tile(expected, (count, 1)), rel=1e-5)
    tensor = network(torch.from_numpy(pixels[:2]))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.numpy() == pytest.approx(np.tile(expected, (2, 1)), rel=1e-5)


def test_predict_does_not_load_torch(tmp_path: Path, image: Path) -> None:
    path = save(model(), tmp_path)
    program = (
        f"import sys; sys.argv = ['cifar100', 'predict', {str(path)!r}, {str(image)!r}, '--json']\n"
        "from cifar100.__main__ import main\n"
        "main()\n"
        "assert not [name for name in ('torch', 'lightning', 'scipy') if name in sys.modules], 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["classes"][0]["name"] == "green"
    assert done.stderr == ""


def test_evaluate_measures_the_file_on_test_images(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that says the same class for every image is right for its two test images of 200."""
    info = DataFolder(tiny_data).info()
    constant = np.full((1, 100), 0.001, np.float32)
    constant[0, 7] = 0.901
    nodes = (
        *NODES[:3],
        helper.make_node("ReduceMean", ["flat", "axes"], ["column"], keepdims=1),  # (N, 1)
        helper.make_node("Sub", ["column", "column"], ["zeros"]),
        helper.make_node("Add", ["zeros", "constant"], ["probabilities"]),
    )
    made = model(*nodes, metadata={KEY: facts(info=info).to_json()}, num_classes=100)
    made.graph.initializer.append(onnx.numpy_helper.from_array(constant, "constant"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    path = save(made, tmp_path)
    evaluation = commands.evaluate(path, data_root=tiny_data)
    assert evaluation.top1 == pytest.approx(0.01)
    assert evaluation.loss == pytest.approx(-(0.01 * np.log(0.901) + 0.99 * np.log(0.001)), rel=1e-4)
    assert evaluation.num_images == 200
    run_command_line(["evaluate", str(path), "--data.root", str(tiny_data)])
    assert "best.ckpt of x, float32, epoch 1" in capsys.readouterr().out
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.onnx"]


def external(made: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.ones(1, np.float32), "outside")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    made.graph.initializer.append(tensor)


def external_in_a_constant(made: onnx.ModelProto) -> None:
    external(made)
    tensor = made.graph.initializer.pop()
    made.graph.node.append(helper.make_node("Constant", [], ["outside"], value=tensor))


def endless(made: onnx.ModelProto) -> None:
    made.graph.node.append(helper.make_node("Loop", ["", "", ""], ["never"], body=made.graph))


def foreign_operator(made: onnx.ModelProto) -> None:
    made.graph.node[3].domain = "evil\x1b[2J"


def with_function(made: onnx.ModelProto) -> None:
    made.functions.append(helper.make_function("mine", "Mine", ["x"], ["y"], [], []))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, r"reads values from another file \('../../etc/passwd'\), which an exported network never does"),
        (external_in_a_constant, r"reads values from another file"),
        (endless, r"contains control flow \(Loop\)"),
        (foreign_operator, r"uses operators of the domain 'evil.+x1b\[2J'"),
        (with_function, "defines functions"),
    ],
)
def test_files_that_do_more_than_compute_are_not_run(
    change: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path
) -> None:
    made = model()
    change(made)
    refused(save(made, tmp_path), message)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "has no entry 'cifar100' in its metadata.*cifar100 export RUN"),
        ({KEY: "{"}, "cannot be used"),
        ({KEY: "[" * 100_000}, "nested too deeply"),
        ({KEY: "{}"}, "it has no 'format'"),
        ({KEY: json.dumps({**json.loads(facts().to_json()), "format": 2})}, "it.format is 2, expected one of 1"),
        ({KEY: json.dumps({**json.loads(facts().to_json()), "info": {}})}, "cannot be used"),
        (
            {KEY: json.dumps({**json.loads(facts().to_json()), "temperature": "hot"})},
            "it.temperature is the text 'hot'",
        ),
    ],
)
def test_files_without_sound_metadata_are_refused(metadata: dict[str, str], message: str, tmp_path: Path) -> None:
    refused(save(model(metadata=metadata), tmp_path), message)


def test_files_of_another_signature_are_refused(tmp_path: Path) -> None:
    names = facts(info=with_classes(INFO, "red", "green")).to_json()
    refused(save(model(metadata={KEY: names}), tmp_path), "it has 3 outputs, but the names of 2 classes")
    made = model()
    made.graph.input[0].name = made.graph.node[0].input[0] = "x"
    refused(save(made, tmp_path), "expected uint8 images")


def test_an_output_that_is_not_finite_is_refused(tmp_path: Path, image: Path) -> None:
    nodes = (*NODES[:3], helper.make_node("Log", ["negative"], ["probabilities"]))
    made = model(*nodes[:3], helper.make_node("Neg", ["flat"], ["negative"]), nodes[3])
    path = save(made, tmp_path)
    with pytest.raises(UserError, match="expected finite probabilities"):
        commands.predict(path, image)


def test_what_is_no_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path / "missing.onnx", "cannot be read")
    (tmp_path / "text.onnx").write_text("hello")
    refused(tmp_path / "text.onnx", "is not an ONNX file, or is damaged")
    (tmp_path / "folder.onnx").mkdir()
    refused(tmp_path / "folder.onnx", "cannot be read")
    os.mkfifo(tmp_path / "fifo.onnx")
    refused(tmp_path / "fifo.onnx", "cannot be read")
    path = save(model(), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    refused(path, "is not an ONNX file|cannot be used|no entry")
    monkeypatch.setattr(untrusted_onnx, "MAX_FILE_BYTES", 100)
    refused(save(model(), tmp_path), "larger than 100 bytes|cannot be read")


def test_options_that_need_a_run_and_other_formats_are_refused(tmp_path: Path, image: Path) -> None:
    path = save(model(), tmp_path)
    with pytest.raises(UserError, match=r"--calibrated needs a run, but .*model.onnx is an exported file"):
        commands.predict(path, image, calibrated=True)
    with pytest.raises(UserError, match="--flip-tta needs a run"):
        commands.evaluate(path, flip_tta=True)
    with pytest.raises(UserError, match="--split needs a run"):
        commands.evaluate(path, split="validation")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"model.safetensors holds weights, for load_model and predict; pass a run or"):
        commands.evaluate(tmp_path / "model.safetensors")
    (tmp_path / "model.pt2").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"model.pt2 is for other programs; pass a run or an exported .onnx"):
        commands.predict(tmp_path / "model.pt2", image)


def test_a_run_may_have_a_name_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("logs/x.onnx")
    run.mkdir(parents=True)
    assert exported_file("x.onnx") == Path("x.onnx")
    (run / "config.yaml").touch()
    assert exported_file("x.onnx") is None
    assert exported_file(run) is None


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(model(), tmp_path)
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else object())
    refused(path, r'the package onnxruntime is not installed.*pip install "cifar100\[export\]"')


def test_facts_survive_their_text() -> None:
    original = facts(accuracies={"test": {"value": 0.5, "interval": [0.4, 0.6], "num_images": 10}})
    assert parse_facts(original.to_json()) == original


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        load_exported(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000
