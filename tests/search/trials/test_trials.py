"""Trials: one line each, continued where they stopped, measured by the rule that is printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config, stop_at

from cifar100 import commands
from cifar100.config import Config
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.results.comparison.statistics import mean_interval
from cifar100.runs.folder import RunFolder
from cifar100.search.trials import trials as module
from cifar100.search.trials.summary import TrialsResult, summarize

ONE_EPOCH = {"training.max_epochs": 1, "training.loggers": []}


def config(root: Path, **changes: object) -> Config:
    return small_config(root, **{**ONE_EPOCH, **changes})


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in this process: to load torch in a new one takes several times as long as these trainings."""
    monkeypatch.setattr(module, "_train_apart", module._train_here)


def accuracies(result: TrialsResult, split: str = "test") -> list[float]:
    return [line[f"{split}_accuracy"] for line in result.lines]


@pytest.mark.usefixtures("in_this_process")
def test_seeds_are_trained_once_and_measured_once(tiny_data: Path) -> None:
    first = commands.trials(config(tiny_data), seeds=1)
    lines = first.file.read_text()
    result = commands.trials(config(tiny_data), seeds=2)
    assert result.file.read_text().startswith(lines)
    assert [line["trial"] for line in result.lines] == ["seed0", "seed1"]
    assert [run.path for run in result.runs] == [first.file.parent / name for name in ("seed0", "seed1")]
    assert result.lines[0] == first.lines[0] == json.loads(lines)
    for line, run in zip(result.lines, result.runs, strict=True):
        evaluation = json.loads(run.evaluation("test").read_text())
        assert line["test_accuracy"] == evaluation["metrics"]["accuracy"]["value"]
        assert evaluation["checkpoint"].endswith("last.ckpt")
        assert line["seconds"] > line["epochs_seconds"] > 0
    (figure,) = [figure for figure in result.figures if figure.name == "test accuracy"]
    assert figure.mean == pytest.approx(np.mean(accuracies(result)))
    assert figure.deviation == pytest.approx(np.std(accuracies(result), ddof=1))
    assert figure.interval == mean_interval(accuracies(result), low=0, high=1)
    assert result.rule.startswith("The 200 test images were opened once for each of 2 networks, with the last weights.")
    with pytest.raises(UserError, match=r"other settings \(settings.training.max_epochs: 1.0 there, 2.0 here\)"):
        commands.trials(config(tiny_data, **{"training.max_epochs": 2}), seeds=2)
    with pytest.raises(UserError, match="split: test there, validation here"):
        commands.trials(config(tiny_data), seeds=2, split="validation")


def interrupted_trial(data: Path) -> None:
    """Leave the first trial of an earlier command named `mine`."""
    stop_at(3, config(data), name="seed0")
    Path("logs/trials/mine").mkdir(parents=True)
    Path("logs/seed0").rename("logs/trials/mine/seed0")


@pytest.mark.usefixtures("in_this_process")
def test_an_interrupted_trial_is_resumed_in_this_process(tiny_data: Path) -> None:
    interrupted_trial(tiny_data)
    result = commands.trials(config(tiny_data), seeds=1, split="validation", name="mine")
    assert result.lines[0]["seconds"] is None
    assert "resumed  after step 3" in result.runs[0].training_log.read_text()


def test_an_interrupted_trial_is_resumed_and_its_time_is_unknown(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_trial(tiny_data)
    result = commands.trials(config(tiny_data), seeds=1, split="validation", name="mine")
    assert result.lines[0]["seconds"] is None
    assert result.runs[0].path == RunFolder(Path("logs/trials/mine/seed0")).path
    assert "resumed  after step 3" in result.runs[0].training_log.read_text()
    assert not result.runs[0].evaluation("test").exists()
    assert "The test images were not used." in result.rule
    result.file.unlink()
    with pytest.raises(UserError, match=r"seed0 was trained with --training.max_epochs 1.0, but 2.0 is requested"):
        commands.trials(config(tiny_data, **{"training.max_epochs": 2}), seeds=1, split="validation", name="mine")


def test_a_seed_that_diverges_is_counted_but_not_in_the_mean(tiny_data: Path) -> None:
    diverging = config(tiny_data, **{"optimization.learning_rate": 1e38})
    result = commands.trials(diverging, seeds=1, split="validation")
    assert result.lines[0]["diverged"] is True
    assert [figure.name for figure in result.figures] == []
    assert "1 diverged and is not in the mean." in result.rule


@pytest.mark.usefixtures("in_this_process")
def test_folds_measure_each_image_once_by_a_network_that_has_not_seen_it(tiny_data: Path) -> None:
    result = commands.trials(config(tiny_data, **{"data.group_duplicates": True}), folds=2)
    assert [line["trial"] for line in result.lines] == ["fold0", "fold1"]
    assert result.rule.startswith("Each training image was measured once")
    assert result.probabilities is not None
    arrays = np.load(result.probabilities)
    pixels, labels = DataFolder(tiny_data).load("train")
    assert (arrays["labels"] == labels).all()
    held_out = [load_split(run.split).validation for run in result.runs]
    assert sorted(np.concatenate(held_out).tolist()) == list(range(len(labels)))
    for run, positions in zip(result.runs, held_out, strict=True):
        expected = commands.load_model(run, checkpoint="last")(pixels[positions])
        assert arrays["probabilities"][positions] == pytest.approx(expected, abs=1e-3)  # logits are kept in float16
        assert not run.evaluation("test").exists()
    hits = arrays["probabilities"].argmax(axis=1) == labels
    mean = np.average(accuracies(result, "validation"), weights=[len(positions) for positions in held_out])
    assert mean == pytest.approx(hits.mean(), abs=2 / len(labels))
    commands.evaluate(result.runs[0], split="validation")  # the best weights instead of the last ones
    commands.trials(config(tiny_data, **{"data.group_duplicates": True}), folds=2)
    assert np.array_equal(np.load(result.probabilities)["probabilities"], arrays["probabilities"])
    saved = json.loads(result.runs[0].evaluation("validation").read_text())
    assert saved["checkpoint"].endswith("last.ckpt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 7}, r"--folds is 7, but class .* has only 6 training images, .*use at most 6"),
        ({"folds": 1}, "--folds is 1, but it must be a whole number from 2 to 100"),
        ({"folds": 2, "seeds": 2}, "--seeds and --folds cannot be used together"),
        ({"folds": 2, "split": "validation"}, "have no effect with --folds"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"seeds": True}, "--seeds is true"),
        ({"split": "train"}, "split is train"),
        ({"name": "a/b"}, "--name is 'a/b', but a name must start with a letter or digit"),
    ],
)
def test_what_cannot_be_repeated_is_refused_before_anything_is_trained(
    options: dict[str, object], message: str, tiny_data: Path
) -> None:
    with pytest.raises(UserError, match=message):
        commands.trials(config(tiny_data), **options)  # type: ignore[arg-type]
    assert not Path("logs").exists()


def test_validation_images_are_missing(tiny_data: Path) -> None:
    with pytest.raises(UserError, match=r"trains on all images; add --data.validation_fraction 0.1"):
        commands.trials(config(tiny_data, **{"data.validation_fraction": 0.0}), split="validation")


def test_a_damaged_line_is_named(tiny_data: Path) -> None:
    file = module.TRIALS / "quickstart" / module.LINES
    file.parent.mkdir(parents=True)
    file.write_text("{broken\n")
    with pytest.raises(UserError, match=r"trials.jsonl cannot be read .*remove the damaged line"):
        commands.trials(config(tiny_data))


@pytest.mark.parametrize(("num_values", "quantile"), [(2, 12.7062), (3, 4.30265), (4, 3.18245), (10, 2.26216)])
def test_the_interval_against_published_quantiles(num_values: int, quantile: float) -> None:
    values = [float(number) for number in range(num_values)]
    interval = mean_interval(values)
    assert interval is not None
    half = quantile * np.std(values, ddof=1) / num_values**0.5
    assert interval == pytest.approx((np.mean(values) - half, np.mean(values) + half), rel=1e-5)


def test_a_single_value_has_no_interval() -> None:
    assert mean_interval([0.5]) is None


@pytest.mark.parametrize(("accuracies", "expected"), [((0.1, 0.2), 0.0), ((0.8, 0.9), 1.0)])
def test_the_interval_of_few_trials_does_not_exceed_possible_values(
    accuracies: tuple[float, float], expected: float
) -> None:
    lines = [
        {"validation_accuracy": accuracy, "seconds": seconds, "epochs": 1.0}
        for accuracy, seconds in zip(accuracies, (1.0, 9.0), strict=True)
    ]
    accuracy, seconds, epochs = summarize(lines, split="validation")
    assert accuracy.interval is not None
    assert expected in accuracy.interval
    assert 0 <= accuracy.interval[0] < accuracy.mean < accuracy.interval[1] <= 1
    assert seconds.interval == pytest.approx((0, 5 + 12.7062 * 4), rel=1e-5)
    assert epochs.interval == (1, 1)


@pytest.mark.usefixtures("in_this_process")
def test_an_audit_reads_the_probabilities_of_the_folds(tiny_data: Path) -> None:
    file = commands.trials(config(tiny_data), folds=2).probabilities
    assert file is not None
    report = commands.audit(tiny_data, probabilities=file)
    assert "on the probabilities of 600 images" in report.labels
    assert report.table.is_file()
    arrays = dict(np.load(file))
    for name, wrong, message in [
        ("labels", arrays["labels"][::-1].copy(), "its labels are not those of the images"),
        ("probabilities", arrays["probabilities"] * 2, "its rows are not probabilities"),
        ("probabilities", arrays["probabilities"][:-1], r"\(599, 100\), expected float32 with 600 rows"),
        ("probabilities", arrays["probabilities"][:, :7], "7 classes, expected 100"),
    ]:
        np.savez("wrong.npz", **{**arrays, name: np.ascontiguousarray(wrong)})
        with pytest.raises(UserError, match=rf"wrong.npz cannot be used .*{message}"):
            commands.audit(tiny_data, probabilities="wrong.npz", out="other")
    with pytest.raises(UserError, match="--folds and --probabilities cannot be used together"):
        commands.audit(tiny_data, folds=2, probabilities=file)
