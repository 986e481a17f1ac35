"""A comparison of runs end to end, and one line for everything that cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_runs import right, write_evaluated
from scipy import stats
from small_folder import make_folder
from trained_networks import ColourNetwork, write_run

from cifar100 import compare
from cifar100.data.folder.splits import Split, save_split
from cifar100.results.evaluate import evaluate


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_are_compared_with_the_first() -> None:
    write_evaluated("a", right(300))
    write_evaluated("b", right(330, first=30), settings={"training.max_epochs": 9})
    found = compare(["a", "b"])
    assert (found.split, found.num_images, found.data) == ("test", 600, "Six things")
    assert [(run.name, run.group, run.accuracy, run.training_seconds) for run in found.runs] == [
        ("a", "A", 0.5, 120.0),
        ("b", "B", 0.55, 120.0),
    ]
    assert found.runs[0].num_parameters == 2_524_984
    assert found.differing_settings == {"training.max_epochs": {"A": 3.0, "B": 9.0}}
    (pair,) = found.pairs
    assert (pair.reference, pair.run) == ("a", "b")
    assert pair.difference == pytest.approx(0.05)
    assert (pair.num_both_right, pair.num_only_reference_right, pair.num_only_run_right) == (270, 30, 60)
    assert pair.p_value == pytest.approx(stats.binomtest(30, 90).pvalue)
    assert pair.is_more_than_chance
    assert found.group_pairs == []


def test_groups_of_seeds_are_compared_with_each_run_counting_once() -> None:
    numbers = {"A": [300, 306, 303], "B": [318, 330]}
    for name, counts in numbers.items():
        for seed, count in enumerate(counts):
            overrides = {"training.seed": seed, "optimization.weight_decay": 0.1 if name == "B" else 0.0}
            write_evaluated(f"{name}{seed}", right(count), settings=overrides)
    found = compare(["A0", "B0", "A1", "B1", "A2"])
    assert [(group.name, group.runs) for group in found.groups] == [("A", ["A0", "A1", "A2"]), ("B", ["B0", "B1"])]
    assert [run.seed for run in found.runs] == [0, 0, 1, 1, 2]
    accuracies = [np.array(counts) / 600 for counts in numbers.values()]
    for group, values in zip(found.groups, accuracies, strict=True):
        assert (group.mean, group.deviation) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
    test = stats.ttest_ind(accuracies[1], accuracies[0], equal_var=False)
    (pair,) = found.group_pairs
    assert (pair.reference, pair.group) == ("A", "B")
    assert pair.p_value == pytest.approx(test.pvalue)
    assert pair.interval == pytest.approx(tuple(test.confidence_interval()))
    assert not pair.is_more_than_chance  # although the images alone would call B1 better than A0
    assert next(pair for pair in found.pairs if pair.run == "B1").is_more_than_chance


def test_the_classes_are_ordered_by_their_difference() -> None:
    write_evaluated("a", [True] * 12)
    is_right = [True] * 12
    is_right[2] = is_right[8] = is_right[4] = False  # both images of class c, one of class e
    write_evaluated("b", is_right)
    found = compare(["a", "b"]).classes
    assert [(entry.name, entry.num_images, entry.num_reference_right, entry.num_run_right) for entry in found] == [
        ("c", 2, 2, 0),
        ("e", 2, 2, 1),
    ]


def test_equal_predictions_are_no_difference() -> None:
    write_evaluated("a", right(3, of=6))
    write_evaluated("b", right(3, of=6))
    found = compare(["a", "b"])
    assert (found.pairs[0].difference, found.pairs[0].interval, found.pairs[0].p_value) == (0, (0, 0), 1)
    assert found.classes == []
    assert found.groups[0].deviation == 0


def test_each_split_has_its_caution() -> None:
    for split in ("test", "validation"):
        for name in "ab":
            write_evaluated(f"{name}_{split}", right(3, of=6), split=split)
    assert "to choose, compare with --split validation" in compare(["a_test", "b_test"]).caution
    found = compare(["a_validation", "b_validation"], split="validation")
    assert "evaluate the chosen run on the test images" in found.caution


def test_runs_of_one_name_are_named_by_their_paths() -> None:
    write_evaluated("a", right(3, of=6))
    write_evaluated("../other/a", right(3, of=6))
    assert [run.name for run in compare(["a", "other/a"]).runs] == ["logs/a", "other/a"]


def test_what_evaluate_saves_is_what_compare_reads(tmp_path: Path) -> None:
    info = make_folder(tmp_path / "data")
    for seed in range(2):
        torch.manual_seed(seed)
        run = write_run(Path("logs") / f"run{seed}", ColourNetwork(5), info=info, data_root=tmp_path / "data")
        save_split(Split(train=np.arange(40), validation=np.arange(40, 60)), run.split)
        evaluate(run, split="validation", checkpoint="best", network=ColourNetwork)
    found = compare(["run0", "run1"], split="validation")
    assert (found.num_images, found.runs[0].num_parameters) == (20, 5 * 3 + 5)
    assert found.runs[0].training_seconds is None  # it was never trained
    saved = [json.loads(Path(run.path, "evaluation_validation.json").read_text()) for run in found.runs]
    assert [run.accuracy for run in found.runs] == [entry["metrics"]["accuracy"]["value"] for entry in saved]


def test_nothing_is_written_and_torch_is_not_loaded() -> None:
    for name in "ab":
        write_evaluated(name, right(3, of=6))
    before = sorted((path, path.stat().st_mtime_ns) for path in Path("logs").rglob("*"))
    program = (
        "import sys; from cifar100.cli.main import run_command_line\n"
        "run_command_line(['compare', 'a', 'b', '--json'])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["runs"] == json.loads(json.dumps([asdict(run) for run in compare(["a", "b"]).runs]))
    assert sorted((path, path.stat().st_mtime_ns) for path in Path("logs").rglob("*")) == before
