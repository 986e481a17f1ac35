"""An ensemble: the mean of probabilities, from saved logits, labelled as one wherever it is shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from evaluated_runs import right, write_evaluated
from similar_runs import make_data, write_member

from cifar100 import compare, ensemble, evaluate, list_runs, predict, report, train
from cifar100.cli.main import run_command_line
from cifar100.data.dataset_info import read_info, write_info
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.results.combining.ensemble import mean_logits
from cifar100.results.combining.members import Source, measured
from cifar100.results.saved_evaluation import load_evaluation
from cifar100.runs.checkpoints import read_checkpoint, write_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_complete_config


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_probabilities_are_averaged_not_the_logits() -> None:
    one, two = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    expected = (one.softmax(1) + two.softmax(1)) / 2
    assert torch.allclose(mean_logits([one, two]).softmax(1), expected)
    sure = torch.tensor([[1000.0, -1000.0]])  # probabilities that float32 cannot hold
    assert mean_logits([sure, sure]).isfinite().all()


def test_members_are_measured_once_and_the_ensemble_is_computed_from_their_logits() -> None:
    info = make_data()
    runs = [write_member(name, info, step=step) for name, step in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    evaluate("a")
    found = ensemble(["a", "b", "c"])
    saved = [load_evaluation(run, "test") for run in runs]
    assert all(each is not None for each in saved)
    probabilities = np.mean([torch.from_numpy(each.logits).softmax(1).numpy() for each in saved if each], axis=0)
    labels = saved[0].labels if saved[0] else None
    predicted = probabilities.argmax(axis=1)
    assert found.top1 == pytest.approx((predicted == labels).mean())
    assert found.loss == pytest.approx(-np.log(probabilities[np.arange(10), labels]).mean(), rel=1e-5)
    assert [member.name for member in found.members] == ["a", "b", "c"]
    assert [member.epoch for member in found.members] == [5, 5, 5]
    assert found.num_parameters == 3 * json.loads(runs[0].evaluation("test").read_text())["num_parameters"]
    for pair, each in zip(found.against_members, saved, strict=True):
        assert each is not None
        assert pair.difference == pytest.approx(found.top1 - (each.predicted == each.labels).mean())
    ours = load_evaluation(RunFolder(Path("logs/ensemble-a-b-c")), "test")
    assert ours is not None
    assert np.array_equal(ours.predicted, predicted)


def test_no_image_is_looked_at_again() -> None:
    write_evaluated("a", right(300))
    write_evaluated("b", right(300, first=150))
    for name in ("a", "b"):  # the weights to which the evaluations belong
        run = RunFolder(Path("logs") / name)
        write_checkpoint({"state_dict": {}, "epoch": 1}, run.checkpoints / "best.ckpt")
    with patch("cifar100.results.combining.members.evaluate", side_effect=AssertionError("measured again")):
        found = ensemble(["a", "b"], experiment="both")
    assert found.run == "both"
    assert found.num_images == 600
    (first, second) = found.against_members
    assert (first.reference, second.reference) == ("a", "b")


def test_custom_networks_are_not_needed_to_combine_what_was_measured_on_other_data() -> None:
    info = make_data()
    make_data(Path("other"))
    for name, step in (("a", 0.1), ("b", 0.2)):
        run = write_member(name, info, step=step)
        run.custom_parts.write_text(json.dumps({"network": "Custom"}))
        model = load_complete_config(run.config).model
        evaluate(name, network=partial(build_model, model), data_root="other")
    assert ensemble(["a", "b"], data_root="other").num_images == 10


def test_a_member_with_newer_weights_is_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    info = make_data()
    run = write_member("a", info, step=0.1)
    write_member("b", info, step=0.2)
    ensemble(["a", "b"])
    assert capsys.readouterr().out.count("measuring") == 2
    content = read_checkpoint(run.checkpoints / "best.ckpt")
    write_checkpoint({**content, "epoch": 9}, run.checkpoints / "best.ckpt")
    found = ensemble(["a", "b"])
    assert capsys.readouterr().out == "measuring best.ckpt of a on the test images\n"
    assert [member.epoch for member in found.members] == [10, 5]


def test_a_member_that_was_resumed_in_its_last_epoch_is_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_member("a", make_data(), step=0.1)
    content = read_checkpoint(run.checkpoints / "best.ckpt")
    for step, expected in ((60, "measuring last.ckpt of a on the test images\n"), (60, ""), (75, "measuring ")):
        write_checkpoint({**content, "epoch": 4, "global_step": step}, run.checkpoints / "last.ckpt")
        measured(Source(run=run, checkpoint="last"), split="test")
        found = capsys.readouterr().out
        assert found.startswith(expected)
        assert bool(found) == bool(expected)


def test_an_ensemble_is_never_taken_for_a_single_network(capsys: pytest.CaptureFixture[str]) -> None:
    info = make_data()
    for name, step in (("a", 0.1), ("b", 0.2)):
        write_member(name, info, step=step, training__max_epochs=9 if name == "b" else 2)
    run_command_line(["evaluate", "a", "b", "--ensemble", "--split", "validation", "--experiment", "both"])
    shown = capsys.readouterr().out
    assert re.search(r"^ensemble +the mean of the probabilities of 2 networks$", shown, re.MULTILINE)
    assert "The ensemble against each member, on the same images:" in shown
    assert "cifar100 report both" in shown
    run_command_line(["compare", "a", "b", "both", "--split", "validation"])
    shown = capsys.readouterr().out
    assert "both (ensemble of 2)" in shown
    assert "ensemble of" in shown
    run_command_line(["runs"])
    assert "ensemble of 2" in capsys.readouterr().out
    summary = next(each for each in list_runs() if each.name == "both")
    assert (summary.combined, summary.epochs, summary.status) == ("ensemble of 2", 0, "finished")
    assert summary.best is not None
    page = report("both").read_text()
    assert "Report of an ensemble of 2 runs" in page
    assert "cifar100 evaluate a b --ensemble --experiment both" in page
    assert "Against a" in page
    side_by_side = report(["a", "both"]).read_text()
    assert "ensemble of 2" in side_by_side


def test_a_report_names_the_weights_that_were_measured() -> None:
    info = make_data()
    for name, step in (("a", 0.1), ("b", 0.2)):
        run = write_member(name, info, step=step)
        content = read_checkpoint(run.checkpoints / "best.ckpt")
        write_checkpoint({**content, "epoch": 9}, run.checkpoints / "last.ckpt")
    ensemble(["a", "b"], experiment="both")
    ensemble(["a", "b"], experiment="both", split="validation", checkpoint="last")
    page = report("both").read_text()  # of the figures on test images
    assert "a: best.ckpt of epoch 5" in page
    assert "last.ckpt" not in page
    assert "cifar100 evaluate a b --ensemble --experiment both<" in page
    RunFolder(Path("logs/both")).evaluation("test").unlink()
    assert "cifar100 evaluate a b --checkpoint last --ensemble --experiment both<" in report("both").read_text()


def test_data_without_test_images_are_named_in_the_command() -> None:
    info = make_data()
    for name, step in (("a", 0.1), ("b", 0.2)):
        write_info(replace(info, num_test=0), write_member(name, info, step=step).dataset_info)
    ensemble(["a", "b"], experiment="both", split="validation")
    command = "cifar100 evaluate a b --ensemble --experiment both --split validation"
    assert command in report("both").read_text()


def test_settings_in_which_members_differ_are_no_difference_of_the_ensemble_alone() -> None:
    info = make_data()
    write_member("a", info, step=0.1, training__max_epochs=2)
    write_member("b", info, step=0.2, training__max_epochs=9)
    ensemble(["a", "b"], experiment="both")
    differing = compare(["a", "b", "both"]).differing_settings
    assert differing == {
        "training.max_epochs": {"A": 2.0, "B": 9.0, "C": "differs between the members"},
        "ensemble of": {"A": None, "B": None, "C": "a, b"},
    }


@pytest.mark.parametrize(
    "use", [lambda: predict("both", ["x.png"]), lambda: evaluate("both"), lambda: train(resume="both")]
)
def test_what_needs_weights_refuses_an_ensemble(use: object) -> None:
    write_evaluated("a", right(3))
    write_evaluated("b", right(4))
    for name in ("a", "b"):
        write_checkpoint({"state_dict": {}, "epoch": 1}, RunFolder(Path("logs") / name).checkpoints / "best.ckpt")
    ensemble(["a", "b"], experiment="both")
    with pytest.raises(UserError, match=r"logs.both is an ensemble, which has no weights of its own; use one of its"):
        use()  # type: ignore[operator]


def test_an_ensemble_that_was_not_measured_on_these_images_says_how() -> None:
    write_evaluated("a", right(300))
    write_evaluated("b", right(310))
    for name in ("a", "b"):
        write_checkpoint({"state_dict": {}, "epoch": 1}, RunFolder(Path("logs") / name).checkpoints / "best.ckpt")
    ensemble(["a", "b"], experiment="both")
    expected = r"run: cifar100 evaluate a b --ensemble --experiment both --split validation"
    with pytest.raises(UserError, match=expected):
        compare(["a", "both"], split="validation")


def test_runs_that_do_not_fit_together_are_refused_in_one_line() -> None:
    info = make_data()
    write_member("a", info)
    other = write_member("classes", info, step=0.1)
    names = list(info.class_names)
    write_info(replace(read_info(other.dataset_info), class_names=("zebra", *names[1:])), other.dataset_info)
    with pytest.raises(UserError, match=r"a and classes were trained on different classes \(class 0 is 'class_0' and"):
        ensemble(["a", "classes"])
    other = write_member("data", info, step=0.1)
    write_info(replace(info, sha256={**info.sha256, "test": "0" * 64}), other.dataset_info)
    with pytest.raises(UserError, match="a and data were trained on data with different test images or labels"):
        ensemble(["a", "data"])
    write_member("split", info, step=0.1, validation=range(20))
    with pytest.raises(UserError, match="a and split have different validation images"):
        ensemble(["a", "split"], split="validation")
    with pytest.raises(UserError, match="only a is given, but an ensemble needs at least two runs"):
        ensemble(["a"])
    with pytest.raises(UserError, match=r"best.ckpt of a is given twice"):
        ensemble(["a", "logs/a"])
    assert not list(Path("logs").glob("ensemble*"))


def test_another_folder_is_never_overwritten() -> None:
    info = make_data()
    for name, step in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        write_member(name, info, step=step)
    ensemble(["a", "b"], experiment="mine")
    with pytest.raises(UserError, match=r"logs.mine is another ensemble of 2: a, b, and is never overwritten"):
        ensemble(["a", "c"], experiment="mine")
    with pytest.raises(UserError, match=r"logs.c already exists, and is never overwritten"):
        ensemble(["a", "b"], experiment="c")
    assert ensemble(["b", "a"], experiment="mine", split="validation").split == "validation"


def test_options_of_the_command_line_that_contradict_are_refused() -> None:
    with pytest.raises(UserError, match="--fair measures a single network; leave it out with --ensemble"):
        run_command_line(["evaluate", "a", "b", "--ensemble", "--fair"])
    with pytest.raises(UserError, match="2 runs are given, but evaluate measures one"):
        run_command_line(["evaluate", "a", "b"])
    with pytest.raises(UserError, match="--experiment names the folder of an ensemble"):
        run_command_line(["evaluate", "a", "--experiment", "x"])
