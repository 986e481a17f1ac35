"""What the page shows: of which images, measured on what, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exportable_runs import write_exportable
from measured_runs import HOSTILE_NAMES, info_of, measured_run
from photographs import photographs
from trained_networks import ColourNetwork, stub

from cifar100 import commands
from cifar100.data.folder.image_files import encode_png
from cifar100.errors import UserError
from cifar100.results.demo.answers import Answerer
from cifar100.results.demo.content import NUM_EXAMPLES, NUM_MISTAKES, of_exported, of_run
from cifar100.results.demo.demo import render_page
from cifar100.results.exported.onnx_network import load_exported
from cifar100.results.report.facts import read_facts
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork


def loaded(run: RunFolder) -> TrainedNetwork:
    network = commands.load_model(run)
    assert isinstance(network, TrainedNetwork)
    return network


def test_a_measured_run_has_test_images_mistakes_and_calibrated_probabilities(run: RunFolder) -> None:
    content, network = of_run(run, loaded(run))
    assert (content.examples_are, content.measured_on) == ("test", "200 test images")
    assert len(content.examples) == NUM_EXAMPLES
    assert len(content.mistakes) == NUM_MISTAKES
    assert content.temperature == network.temperature != 1
    assert content.how_to_evaluate == content.how_to_calibrate == ""


def test_a_run_that_was_not_measured_shows_validation_images_only(tiny_data: Path, tmp_path: Path) -> None:
    run = write_exportable(tmp_path / "new", tiny_data)
    content, network = of_run(run, loaded(run))
    assert (content.examples_are, content.mistakes, content.accuracy) == ("validation", [], None)
    assert network.temperature == 1
    assert content.how_to_evaluate == f"cifar100 evaluate {run.argument}"
    assert content.how_to_calibrate == f"cifar100 evaluate {run.argument} --split validation --calibrate"
    other = replace(network, checkpoint=run.checkpoints / "last.ckpt")
    assert of_run(run, other)[0].how_to_evaluate == f"cifar100 evaluate {run.argument} --checkpoint last"
    page = render_page(content)
    assert "accuracy not yet measured" in page
    assert "not calibrated" in page


def test_a_run_without_held_out_images_shows_training_images(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_exportable(tmp_path / "new", tiny_data)
    facts = read_facts(run)
    info = replace(facts.info, num_test=0)
    monkeypatch.setattr(
        "cifar100.results.demo.content.read_facts", lambda _: replace(facts, info=info, num_validation=0)
    )
    content, _ = of_run(run, loaded(run))
    assert (content.examples_are, len(content.examples)) == ("training", NUM_EXAMPLES)
    assert content.how_to_evaluate == content.how_to_calibrate == ""
    page = render_page(content)
    assert "random training images, which the network has seen in training: no images were held out" in page
    assert "--split" not in page


def test_an_evaluation_of_other_weights_is_not_shown(run: RunFolder) -> None:
    content, _ = of_run(run, replace(loaded(run), epoch=99))
    assert content.accuracy is None
    assert content.examples_are == "validation"


def test_a_run_whose_data_are_gone_has_a_page_without_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{name}{number}" for number in range(6) for name in HOSTILE_NAMES]
    run = measured_run(tmp_path / "run", info_of(names))
    network = replace(stub(ColourNetwork(len(names)), info=info_of(names)), epoch=5)
    content, _ = of_run(run, network)
    assert content.examples == content.mistakes == []
    assert capsys.readouterr().err.startswith("cifar100: the page shows no examples: ")
    page = render_page(content)
    assert "<script>document" not in page
    assert "onerror=document" not in page


def test_a_network_of_two_classes_has_no_five_most_probable_ones(run: RunFolder) -> None:
    content, _ = of_run(run, loaded(run))
    assert "the 5 most probable of 100 classes, and where the network looked." in render_page(content)
    page = render_page(replace(content, info=info_of(("cat", "dog"))))
    assert "The answer appears here: the probabilities of the 2 classes, and where" in page


def test_names_of_classes_are_shown_as_text(tmp_path: Path) -> None:
    info = info_of(HOSTILE_NAMES)
    answer = Answerer(stub(ColourNetwork(len(HOSTILE_NAMES)), info=info))(encode_png(photographs(1)[0]))
    assert len(answer["classes"]) == 5
    assert all(len(each["name"]) <= 63 and each["name"].isprintable() for each in answer["classes"])
    assert answer["superclass"] is None
    assert "has no layer" in answer["problem"]  # a network without positions has no maps
    assert {each["map"] for each in answer["classes"]} == {None}


def test_an_answer_is_that_of_predict_with_its_superclass(run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(photographs(1, seed=5)[0]))
    network = loaded(run)
    answer = Answerer(network)(path.read_bytes())
    (expected,) = commands.predict(run, [path])
    assert [(each["name"], each["superclass"]) for each in answer["classes"]] == [
        (each.name, each.superclass) for each in expected.classes
    ]
    probabilities = np.asarray(network(photographs(1, seed=5)))[0]
    members = np.array(network.info.class_to_superclass)
    sums = [probabilities[members == superclass].sum() for superclass in range(len(network.info.superclass_names))]
    assert answer["superclass"]["probability"] == pytest.approx(max(sums), rel=1e-5)
    assert answer["superclass"]["name"] == network.info.superclass_names[int(np.argmax(sums))]


@pytest.fixture(scope="module")
def exported_file(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commands.export(run, output=tmp_path_factory.mktemp("exports") / "tiny.onnx", calibrated=True).path


def test_an_exported_file_answers_without_maps(exported_file: Path) -> None:
    exported = load_exported(exported_file)
    content = of_exported(exported)
    assert (content.name, content.examples, content.measured_on) == ("tiny", [], "200 test images")
    assert "calibrated: the logits are divided" in render_page(content)
    page = render_page(of_exported(replace(exported, facts=replace(exported.facts, precision="int8"))))
    assert "fast_net in int8 on " in page
    assert "accuracy not yet measured" in page  # that of float32 is not its own
    assert "the 5 most probable of 100 classes." in page
    answer = Answerer(exported)(encode_png(photographs(1)[0]))
    assert answer["problem"].startswith("An exported file does not show where it looks")


def test_options_that_need_a_run_are_refused_for_an_exported_file(exported_file: Path) -> None:
    with pytest.raises(UserError, match="--checkpoint needs a run"):
        commands.demo(exported_file, checkpoint="last", port=0)
