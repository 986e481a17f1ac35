"""The benchmarks run and print their tables, on tiny data; what they compute from measurements is right."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cifar100.config import Config, ModelConfig
from cifar100.errors import UserError
from cifar100.settings import load_config, write_config

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(file.stem for file in FOLDER.glob("*.py") if "if __name__ ==" in file.read_text(encoding="utf-8"))

TINY_TRIAL = ("--recipe", "quickstart", "--split", "validation", "--in-process")
TINY_SETTINGS = ("--training.max_epochs", "1", "--model.widths", "[8,8,8]", "--training.accelerator", "cpu")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """Imports a script as when it is run; the working directory is an empty folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module


def assert_readable_table(text: str) -> None:
    assert "Hardware: " in text
    assert "Versions: Python " in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_results_page_names_every_benchmark() -> None:
    results = (FOLDER.parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) == 11
    assert all(f"benchmarks/{script}.py" in results for script in SCRIPTS)


def test_contestants_take_turns_and_every_other_round_goes_backwards(benchmark: Callable[[str], ModuleType]) -> None:
    measure, calls = benchmark("measure"), list[str]()
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = measure.interleaved(contestants, repeats=3)
    assert "".join(calls) == "abccbaabc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_is_taken_within_each_round(benchmark: Callable[[str], ModuleType]) -> None:
    assert benchmark("measure").median_ratio([2.0, 30.0, 400.0], [1.0, 10.0, 100.0]) == 3.0


def test_saving_cost(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recipe", "quickstart", "--data.root", str(tiny_data), "--minutes", "0.02", "--repeats", "1"]
    assert benchmark("saving_cost").main(options) == 0
    shown = capsys.readouterr().out
    assert_readable_table(shown)
    assert "every 2 minutes and at the end" in shown
    assert not any(Path().iterdir())


def test_ingredient_cost(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recipe", "quickstart", "--data.root", str(tiny_data), "--steps", "1", "--repeats", "1"]
    assert benchmark("ingredient_cost").main(options) == 0
    shown = capsys.readouterr().out
    assert_readable_table(shown)
    assert "\nFriendly SAM" in shown
    assert "stochastic depth" not in shown  # fast_net has no residual blocks


@pytest.mark.slow
def test_learning_rate_grid(
    benchmark: Callable[[str], ModuleType],
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = benchmark("learning_rate_grid")
    monkeypatch.setattr("cifar100.training.lr_finder.range_test.MIN_STEPS", 40)
    options = ["--recipe", "quickstart", "--epochs", "0.25", "--data.root", str(tiny_data), *TINY_SETTINGS[2:]]
    assert module.main([*options, "--output", "rates.jsonl"]) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    lines = Path("rates.jsonl").read_text(encoding="utf-8").splitlines()
    assert table.count("%") == len(lines) - 1 >= 6
    monkeypatch.setattr(module, "accuracy_at", None)  # nothing is trained twice
    assert module.main([*options, "--output", "rates.jsonl"]) == 0
    assert capsys.readouterr().out == table


@pytest.mark.parametrize("best", [-5, -3, 0])
def test_the_grid_of_learning_rates_grows_until_its_best_lies_inside(
    best: int, benchmark: Callable[[str], ModuleType]
) -> None:
    module, accuracies = benchmark("learning_rate_grid"), dict[float, float]()
    while (rate := module.next_rate(0.12, accuracies)) is not None:
        accuracies[rate] = -abs(math.log2(rate) - best)
    assert 0.12 in accuracies
    assert {2.0 ** (best + distance) for distance in (-2, -1, 0, 1, 2)} <= accuracies.keys()


def test_input_pipeline(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.root", str(tiny_data), "--images", "128", "--repeats", "1", "--workers", "0"]
    assert benchmark("input_pipeline").main(options) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    for name in ("cifar100, packed", "cifar100, images", "Albumentations, PNG", "torchvision v2", "kornia"):
        assert f"\n{name}" in table  # a peer that is not installed has its row as well
    assert "128 images a pass" in table


def test_a_peer_that_is_not_installed_says_so(benchmark: Callable[[str], ModuleType]) -> None:
    assert benchmark("peers").reason_missing("no_such_peer") == "not installed"
    assert benchmark("peers").reason_missing("numpy") == ""


def test_loop_overhead_trains_the_same_network_on_both_sides(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recipe", "quickstart", "--data.root", str(tiny_data), "--steps", "8", "--repeats", "1"]
    assert benchmark("loop_overhead").main(options) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert "the same." in " ".join(table.split())
    assert "3 steps of 128 images after 5 to warm up, 2 epoch(s)" in table  # 8 steps are two whole epochs of 4


def test_loop_overhead_notices_another_network(
    benchmark: Callable[[str], ModuleType],
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = benchmark("loop_overhead")
    bare = module.train_bare

    def with_another_seed(config: Config) -> Any:
        return bare(replace(config, training=replace(config.training, seed=1)))

    monkeypatch.setattr(module, "train_bare", with_another_seed)
    options = ["--recipe", "quickstart", "--data.root", str(tiny_data), "--steps", "8", "--repeats", "1"]
    assert module.main(options) == 1
    assert "NOT THE SAME" in " ".join(capsys.readouterr().out.split())


def test_loop_overhead_refuses_too_few_steps(benchmark: Callable[[str], ModuleType], tiny_data: Path) -> None:
    with pytest.raises(UserError, match="--steps is 5, but it must be more than"):
        benchmark("loop_overhead").main(["--data.root", str(tiny_data), "--steps", "5"])


def test_loop_overhead_refuses_what_its_bare_loop_has_not(
    benchmark: Callable[[str], ModuleType], tiny_data: Path
) -> None:
    with pytest.raises(UserError, match="has no SAM, moving average or teacher"):
        benchmark("loop_overhead").main(["--recipe", "strong", "--data.root", str(tiny_data), "--steps", "20"])


@pytest.mark.slow
def test_scaling_efficiency(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recipe", "quickstart", "--data.root", str(tiny_data), "--batch-size", "16", "--steps", "4"]
    assert benchmark("scaling_efficiency").main([*options, "--repeats", "1"]) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert re.search(r"^2 +\d.* \d+%$", table, re.MULTILINE)


@pytest.mark.parametrize(("precision", "numbers"), [("32-true", "float32"), ("bf16-mixed", "bfloat16")])
def test_training_throughput(
    benchmark: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], precision: str, numbers: str
) -> None:
    options = ["--networks", "fast_net of quickstart", "--batch-size", "2", "--matrix-side", "64", "--repeats", "1"]
    assert benchmark("training_throughput").main([*options, "--precision", precision]) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert table.count("channels_last") == 1
    assert f"{numbers} product of 64 x 64 matrices" in table


def test_training_throughput_prints_the_table_of_cifar100_models(
    benchmark: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cifar100.models import facts

    small = {"fast_net": Config(model=ModelConfig(name="fast_net")).model, "variant": ModelConfig(name="vgg16_bn")}
    script = benchmark("training_throughput")
    monkeypatch.setattr(script, "networks", lambda: small)
    options = ["--networks", "fast_net", "--batch-size", "2", "--matrix-side", "64", "--repeats", "1", "--yaml"]
    assert script.main(options) == 0
    monkeypatch.setattr(facts, "read_text", lambda path, limit: capsys.readouterr().out)
    (measured,) = [model for model in facts.model_facts() if model.images_per_second is not None]
    assert measured.name == "fast_net"
    assert measured.images_per_second is not None
    assert measured.images_per_second > 0
    assert re.search(r"processors.*, 32-true, torch [^,]+, \d{4}-\d\d-\d\d$", measured.measured_on)


def test_training_throughput_knows_every_network(benchmark: Callable[[str], ModuleType]) -> None:
    from cifar100.models import networks as registered
    from cifar100.settings import load_config, recipe_names

    networks = benchmark("training_throughput").networks()
    assert {config.name for config in networks.values()} == set(registered())
    chosen = [load_config(recipe).model for recipe in recipe_names()]
    assert all(model in networks.values() for model in chosen if model.name in registered())


def test_trials_are_those_of_the_command_with_a_table(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, lines = benchmark("accuracy_trials"), Path("logs/trials/quickstart-in-process/trials.jsonl")
    options = [*TINY_TRIAL, "--data.root", str(tiny_data), *TINY_SETTINGS]
    assert module.main([*options, "--trials", "1"]) == 0
    first = lines.read_text()
    capsys.readouterr()
    assert module.main([*options, "--trials", "2"]) == 0
    assert lines.read_text().startswith(first)
    trials = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(trial["trial"], trial["cold"]) for trial in trials] == [("seed0", True), ("seed1", True)]
    assert trials[0]["seconds"] > trials[0]["epochs_seconds"] > 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert "seconds of train, cold" in table


def test_a_seed_is_not_a_setting_of_the_trials(benchmark: Callable[[str], ModuleType]) -> None:
    with pytest.raises(UserError, match="--first-seed"):
        benchmark("accuracy_trials").parse(["--training.seed", "3"])


@pytest.mark.slow
def test_a_trial_in_a_process_of_its_own_opens_the_test_images(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, tmp_path: Path
) -> None:
    options = ["--recipe", "quickstart", "--trials", "1", "--data.root", str(tiny_data)]
    assert benchmark("accuracy_trials").main([*options, *TINY_SETTINGS]) == 0
    (trial,) = [json.loads(line) for line in Path("logs/trials/quickstart/trials.jsonl").read_text().splitlines()]
    assert 0 <= trial["test_accuracy"] <= 1
    assert trial["cold"] is True


@pytest.mark.slow
def test_accuracy_over_time(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("accuracy_over_time")
    monkeypatch.setattr(module, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(module, "PLOT", tmp_path / "plot.png")
    for seed, accuracy in enumerate((0.70, 0.72)):
        run = tmp_path / f"laptop_{seed}"
        run.mkdir()
        write_config(load_config("laptop"), run / "config.yaml", comment="test")
        status = {"status": "finished", "started": "2026-11-27T05:00:00+00:00", "updated": "2026-11-27T05:10:00+00:00"}
        (run / "status.json").write_text(json.dumps(status))
        (run / "evaluation_test.json").write_text(json.dumps({"metrics": {"accuracy": {"value": accuracy}}}))
    (tmp_path / "table.csv").write_text(
        "recipe,minutes,accuracy,deviation,num_runs,machine,date\n"
        "laptop,9.9,0.1,,1,here,2026-01-01\noriginal,90.0,0.56,,1,elsewhere,2026-01-01\n"
    )
    runs = [str(tmp_path / f"laptop_{seed}") for seed in range(2)]
    assert module.main([*runs, "--machine", "here"]) == 0
    rows = module.read_rows(tmp_path / "table.csv")
    assert [(row.recipe, row.machine, row.num_runs) for row in rows] == [
        ("original", "elsewhere", 1),
        ("laptop", "here", 2),
    ]
    assert (rows[1].minutes, rows[1].accuracy) == (10.0, 0.71)
    assert rows[1].deviation == pytest.approx(0.02 / 2**0.5)
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_accuracy_over_time_refuses_an_unfinished_run(benchmark: Callable[[str], ModuleType], tmp_path: Path) -> None:
    module = benchmark("accuracy_over_time")
    (tmp_path / "status.json").write_text(json.dumps({"status": "running"}))
    with pytest.raises(UserError, match="is running, or not evaluated"):
        module.rows_of_runs([tmp_path], "here")


def test_accuracy_over_time_refuses_a_run_that_was_resumed(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = benchmark("accuracy_over_time")
    status = {"status": "finished", "started": "2026-11-27T05:00:00+00:00", "updated": "2026-11-28T05:10:00+00:00"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "evaluation_test.json").write_text(json.dumps({"metrics": {"accuracy": {"value": 0.7}}}))
    (tmp_path / "training.log").write_text("2026-11-28 05:00:00  resumed  after step 1,234, in epoch 9\n")
    with pytest.raises(UserError, match="was interrupted and resumed, so the time of its training is unknown"):
        module.rows_of_runs([tmp_path], "here")


@pytest.mark.slow
def test_startup(benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("startup").main(["--data.root", str(tiny_data), "--repeats", "1"]) == 0
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert "to the first training step" in table


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_step_memory(
    benchmark: Callable[[str], ModuleType], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--networks", "fast_net", "--images", "64", "--data.root", str(tiny_data)]
    assert benchmark("step_memory").main(options) in (0, 1)  # so small a step has much noise
    table = capsys.readouterr().out
    assert_readable_table(table)
    assert re.search(r"^fast_net +64 +\d\.\d+ +\d\.\d+ +\d\.\d+$", table, re.MULTILINE)
