"""What an export writes, how it is checked, and what is refused without leaving a file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable_runs import write_exportable
from PIL import Image, ImageOps
from trained_networks import ColourNetwork, write_run

from cifar100 import commands
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.files.atomic import write_json
from cifar100.process import packages
from cifar100.results.evaluation_data import images_of
from cifar100.results.export import check, export
from cifar100.results.export.card import facts_of, model_card
from cifar100.results.export.result import Export
from cifar100.results.exported.onnx_network import load_exported
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained


def photo(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def batch(*images: Image.Image) -> Any:
    return np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 30), (480, 640)])
@pytest.mark.parametrize("size", [1, 3])
def test_the_onnx_file_gives_the_networks_probabilities_for_any_size_and_batch(
    exported: Export, run: RunFolder, height: int, width: int, size: int
) -> None:
    network = commands.load_model(run)
    image = photo(height, width)
    expected = network(batch(ImageOps.fit(image, (32, 32), method=Image.Resampling.BICUBIC)))
    found = load_exported(exported.path).run(batch(*[image] * size))
    assert found.shape == (size, 100)
    np.testing.assert_allclose(found, np.repeat(expected, size, axis=0), atol=1e-5)


def test_what_an_export_tells(exported: Export, run: RunFolder) -> None:
    assert exported.largest_difference < 1e-5
    assert exported.difference_of_other_sizes is not None
    assert exported.difference_of_other_sizes < 1e-3
    assert exported.compared_on == "100 validation images (32x32)"
    assert exported.num_bytes == exported.path.stat().st_size
    assert exported.milliseconds_batch > exported.milliseconds_single > 0
    assert exported.runtime.startswith("onnxruntime ")
    facts = load_exported(exported.path).facts
    assert facts.info == DataFolder(Path(commands.load_model(run).config.data.root)).info()
    assert (facts.run, facts.network, facts.epoch, facts.precision) == ("tiny", "fast_net", 5, "float32")
    assert facts.model_settings == {"widths": [8, 8, 8], "blocks": "plain", "logit_scale": 1 / 3}


def test_the_model_card_says_what_the_network_is(exported: Export) -> None:
    import onnx

    from cifar100.results.exported.untrusted_onnx import metadata

    card = metadata(onnx.load(exported.path))["model_card"]
    assert card.startswith("# fast_net, trained on ")
    assert "- Accuracy: not measured" in card
    assert "- Classes: 100." in card


def test_the_model_card_gives_no_figures_of_other_data(run: RunFolder, tmp_path: Path) -> None:
    measured = RunFolder(shutil.copytree(run.path, tmp_path / "measured"))
    commands.evaluate(measured)
    trained = load_trained(measured, "best")
    assert "- Accuracy on 200 test images" in model_card(facts_of(trained, measured, precision="float32"))
    content = json.loads(measured.evaluation("test").read_text())
    write_json({**content, "images_sha256": "0" * 64}, measured.evaluation("test"))  # as after `--data.root OTHER`
    facts = facts_of(trained, measured, precision="float32")
    assert facts.accuracies == {}
    assert "- Accuracy: not measured" in model_card(facts)


@pytest.mark.parametrize("kind", [pytest.param("torch", marks=pytest.mark.slow), "torchscript", "safetensors"])
def test_other_formats_give_the_same_and_name_no_file_of_this_machine(
    kind: Any, run: RunFolder, tmp_path: Path, tiny_data: Path
) -> None:
    suffix = {"torch": ".pt2", "torchscript": ".pt", "safetensors": ".safetensors"}[kind]
    found = commands.export(run, format=kind, output=tmp_path / f"x{suffix}")
    assert found.largest_difference < 1e-5
    assert not [path for path in tmp_path.iterdir() if path != found.path]
    content = found.path.read_bytes()
    if zipfile.is_zipfile(found.path):
        with zipfile.ZipFile(found.path) as archive:
            content = b"".join(map(archive.read, archive.namelist()))
    for place in (Path(torch.__file__).parent, Path(commands.__file__).parent, tiny_data):
        assert os.fsencode(place) not in content
    assert b"aquatic" in content or b"class_names" in content


def test_the_onnx_file_names_no_file_of_this_machine(exported: Export, tiny_data: Path) -> None:
    content = exported.path.read_bytes()
    for place in (Path(torch.__file__).parent, Path(commands.__file__).parent, tiny_data):
        assert os.fsencode(place) not in content


def test_the_test_images_are_not_used(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = []

    def watched(*arguments: Any, split: Any, **options: Any) -> Any:
        splits.append(split)
        return images_of(*arguments, split=split, **options)

    for module in (check, export):
        monkeypatch.setattr(module, "images_of", watched)
    commands.export(run, format="safetensors", output=tmp_path / "x.safetensors")
    assert splits == ["validation"]


def test_without_its_data_a_run_is_checked_on_random_images_and_a_line_says_so(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = RunFolder(shutil.copytree(run.path, tmp_path / "moved"))
    moved.config.write_text(moved.config.read_text().replace("  root: ", "  root: /nowhere"))
    found = commands.export(moved, format="safetensors")
    assert found.path == moved.path / "export" / "model.safetensors"
    assert found.compared_on == "256 random images (32x32)"
    assert "checking the export on random images, because " in capsys.readouterr().err


def refused(run: RunFolder, path: Path, message: str, **options: Any) -> None:
    """Check that an export is refused and leaves nothing behind."""
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else None
    with pytest.raises(UserError, match=message) as raised:
        commands.export(run, output=path, **options)
    assert "\n" not in str(raised.value)
    assert (sorted(path.parent.iterdir()) if path.parent.is_dir() else None) == before


def test_places_where_nothing_is_written(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    refused(run, tmp_path / "there.onnx", "already exists and is never overwritten")
    assert (tmp_path / "there.onnx").read_text() == "mine"
    refused(run, tmp_path / "model.pt2", r"--output is .*model\.pt2, expected a name that ends in \.onnx")
    refused(run, tmp_path / "there.onnx" / "x.onnx", r"cannot be written \(.*there\.onnx: Not a directory\)")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "nowhere")
    refused(run, tmp_path / "link.onnx", "already exists")


def test_a_full_disk_leaves_nothing(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_atomically", full)
    refused(
        run,
        tmp_path / "x.safetensors",
        r"cannot be written \(No space left on device\); free some",
        format="safetensors",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "format is tflite, but it must be onnx or torch or torchscript or safetensors"),
        ({"int8": True, "format": "torch"}, "--int8 is for --format onnx, not torch"),
        ({"int8_limit": 2.0}, "--int8-limit has no effect without --int8"),
        ({"int8": True, "int8_limit": -1.0}, "--int8-limit is -1, but it must be from 0 to 100"),
        ({"int8": "yes"}, "int8 is yes, but it must be True or False"),
        ({"calibrated": True}, "has no temperature for best.ckpt"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, run: RunFolder, tmp_path: Path) -> None:
    refused(run, tmp_path / "x.onnx", message, **options)


@pytest.mark.parametrize(("kind", "package"), [("onnx", "onnxscript"), ("safetensors", "safetensors")])
def test_a_missing_package_is_one_line_with_the_command(
    kind: str, package: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == package else object())
    message = rf'the package {package} is not installed.*pip install "cifar100\[export\]"'
    refused(run, tmp_path / f"x.{kind}", message, format=kind)


def test_runs_that_cannot_be_exported(run: RunFolder, tmp_path: Path) -> None:
    untrained = RunFolder(shutil.copytree(run.path, tmp_path / "untrained"))
    shutil.rmtree(untrained.checkpoints)
    refused(untrained, tmp_path / "out" / "x.onnx", "no checkpoint")
    other = RunFolder(shutil.copytree(run.path, tmp_path / "other"))
    other.config.write_text(other.config.read_text().replace("- 8", "- 16"))
    refused(other, tmp_path / "out" / "x.onnx", "the network that config.yaml names")
    custom = RunFolder(shutil.copytree(run.path, tmp_path / "custom"))
    write_json({"network": "MyNet"}, custom.custom_parts)
    refused(custom, tmp_path / "out" / "x.onnx", "trained from Python with network=MyNet")


def test_a_network_from_python_is_exported_by_its_class_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    write_json({"network": "ColourNetwork"}, run.custom_parts)
    found = commands.export(run, format="safetensors", output=tmp_path / "x.safetensors", network=ColourNetwork)
    with found.path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    facts = json.loads(header["__metadata__"]["cifar100"])
    assert (facts["network"], facts["model_settings"]) == ("ColourNetwork", {})


class Branching(ColourNetwork):
    """Asks for the values of its input, which a graph cannot do."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images if images.sum() > 0 else -images)


@pytest.mark.slow
def test_a_network_from_python_that_has_no_graph_is_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Branching(6))
    write_json({"network": "Branching"}, run.custom_parts)
    refused(run, tmp_path / "x.pt2", "network=Branching cannot be exported to torch", format="torch", network=Branching)


def test_an_export_that_differs_is_refused(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "largest_difference", lambda *_: 0.01)
    message = "differs from the network by 0.01 in a probability, expected at most 0.0001; nothing was written"
    refused(run, tmp_path / "x.safetensors", message, format="safetensors")


def test_a_difference_that_is_not_a_number_counts_as_infinite() -> None:
    images = np.zeros((1, 3, 32, 32), np.uint8)
    nan, zero = (np.full((1, 2), value, np.float32) for value in (np.nan, 0))
    assert check.largest_difference(lambda _: nan, lambda _: zero, images) == np.inf


def test_the_program_in_the_tutorial_runs_the_file_without_this_package(exported: Export, tmp_path: Path) -> None:
    tutorial = (Path(__file__).parents[3] / "docs/tutorials/export.md").read_text(encoding="utf-8")
    (program,) = (block for block in re.findall(r"```python\n(.*?)```", tutorial, re.DOTALL) if "onnxruntime" in block)
    assert "cifar100 import" not in program
    file = tmp_path / "logs/experiment1/export/model.onnx"
    file.parent.mkdir(parents=True)
    shutil.copy(exported.path, file)
    environment = {name: value for name, value in os.environ.items() if name == "SYSTEMROOT"}  # Windows needs it
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "", **environment},
    )
    assert done.stdout.strip() in load_exported(exported.path).info.class_names


@pytest.mark.slow
def test_int8_is_close_and_half_the_size_and_refused_if_it_loses_too_much(
    run: RunFolder, exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = commands.export(run, output=tmp_path / "x.onnx", int8=True, int8_limit=100.0)
    assert found.precision == load_exported(found.path).facts.precision == "int8"
    assert found.int8_accuracy is not None
    assert found.int8_accuracy.num_images == 100
    network = load_exported(found.path)
    assert operators(found.path) >= {"QuantizeLinear", "DequantizeLinear"}
    images = DataFolder(Path(commands.load_model(run).config.data.root)).load("train")[0][:64]
    assert np.abs(network(images) - load_exported(exported.path)(images)).mean() < 0.01
    accuracies = iter([0.9, 0.7])
    monkeypatch.setattr(check, "accuracy", lambda *_: next(accuracies))
    message = (
        r"int8 loses 20\.00 points .* on 100 validation images \(70\.00% instead of 90\.00%\), expected at most 1;"
    )
    refused(run, tmp_path / "y.onnx", message, int8=True)


def operators(path: Path) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_the_weights_of_a_resnet_load_into_torchvisions_model(stem: str, tiny_data: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is no dependency")
    from safetensors.torch import load_file

    run = write_exportable(tmp_path / "run", tiny_data, **{"model.name": "resnet18", "model.stem": stem})
    found = commands.export(run, format="safetensors", output=tmp_path / "x.safetensors")
    network = models.resnet18(num_classes=100)
    if stem == "cifar":  # as the model card says
        network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.Identity()
    network.load_state_dict(load_file(found.path))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            network.eval()(images), commands.load_model(run).network(images), atol=1e-4, rtol=1e-4
        )
