"""What a run is, read from its files: those of a real run, and any that may be missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from trained_networks import ColourNetwork, write_run

from cifar100.environment import describe_versions
from cifar100.errors import UserError
from cifar100.files.user_paths import as_argument
from cifar100.models import build_model
from cifar100.models.summary import count_parameters, model_table, mult_adds
from cifar100.results.report.facts import LogFacts, parse_log, parse_mult_adds, read_facts
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config


def test_the_facts_are_those_of_the_run(trained_run: RunFolder) -> None:
    facts = read_facts(trained_run)
    network = load_trained(trained_run, "best").network
    assert facts.network == "fast_net"
    assert facts.log.parameters == count_parameters(network)
    assert facts.mult_adds == mult_adds(network)
    assert facts.log.device is not None
    assert facts.log.device.startswith("cpu (")
    assert facts.log.versions == ", ".join(f"{name} {version}" for name, version in describe_versions().items())
    assert (facts.num_train, facts.num_validation) == (500, 100)
    assert (facts.status, facts.recipe, len(facts.epochs)) == ("finished", "quickstart", 2)
    assert facts.best == max(facts.epochs, key=lambda epoch: epoch["val/accuracy"])
    assert facts.seconds == pytest.approx(sum(epoch["seconds"] for epoch in facts.epochs))


def test_the_changed_settings_are_those_that_were_given(trained_run: RunFolder) -> None:
    changes = read_facts(trained_run).changes
    assert changes["training.max_epochs"] == ("3.0", "2.0")
    assert changes["model.widths"] == ("[24, 48, 96]", "[8, 8, 8]")
    given = {"data.root", "data.batch_size", "data.validation_fraction", "training.accelerator"}
    assert changes.keys() - {"model.widths", "training.max_epochs"} == given


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet28_10"])  # millions, billions
def test_multiply_adds_are_read_in_their_unit(name: str) -> None:
    network = build_model(load_config("baseline", overrides={"model.name": name}).model, 100)
    assert parse_mult_adds(model_table(network)) == pytest.approx(mult_adds(network), rel=0.002)


def test_a_resumed_run_is_that_of_its_last_start() -> None:
    line = "2026-01-02 03:04:05  network  {}, {} parameters\n2026-01-02 03:04:05  device   {}\n"
    log = line.format("a, cifar stem", "1,234", "cpu (x), 32-true") + line.format("b", "5", "cuda (y), bf16-mixed")
    assert parse_log(log) == LogFacts(network="b", parameters=5, device="cuda (y), bf16-mixed")


def test_nothing_but_settings_and_data_is_needed(tmp_path: Path) -> None:
    facts = read_facts(write_run(tmp_path / "run", ColourNetwork(6)))
    assert facts.log == LogFacts()
    assert (facts.status, facts.epochs, facts.mult_adds, facts.seconds, facts.best) == ("unknown", [], None, None, None)
    assert (facts.num_train, facts.num_validation) == (None, None)


def test_the_command_to_measure_is_one_that_works(trained_run: RunFolder) -> None:
    facts = read_facts(trained_run)
    assert facts.how_to_evaluate(calibrates=True) == f"cifar100 evaluate {trained_run.argument} --calibrate"
    without_test = replace(facts, info=replace(facts.info, num_test=0))
    assert without_test.how_to_evaluate() == f"cifar100 evaluate {trained_run.argument} --split validation"
    last, command = facts.run.checkpoints / "last.ckpt", f"cifar100 evaluate {trained_run.argument}"
    assert facts.how_to_calibrate(checkpoint=last) == f"{command} --split validation --checkpoint last --calibrate"
    assert without_test.how_to_measure_robustness == f"{command} --split validation --corruptions generated"
    custom = replace(facts, parts={"network": "net"})
    assert custom.how_to_evaluate() == f"evaluate('{trained_run.path.as_posix()}', network=...)"
    assert facts.how_to_measure_robustness == f"cifar100 evaluate {trained_run.argument} --corruptions generated"
    official = replace(custom, info=replace(facts.info, origin="official"))
    expected = (
        f"evaluate('{trained_run.path.as_posix()}', network=..., fair=True, corrected=True, corruptions=\"generated\")"
    )
    assert official.how_to_measure_robustness == expected


def test_what_makes_a_run_again_passes_its_custom_parts(trained_run: RunFolder) -> None:
    facts = read_facts(trained_run)
    assert facts.how_to_repeat == f"cifar100 train --config {as_argument(trained_run.config)}"
    custom = replace(facts, parts={"network": "net", "loss": "mine"})
    assert custom.how_to_repeat == f"train(load_config(files='{trained_run.config}'), network=..., loss=...)"


def test_a_run_without_a_recipe_has_no_changes(trained_run: RunFolder) -> None:
    facts = read_facts(trained_run)
    assert replace(facts, settings={**facts.settings, "recipe": None}).changes == {}


def test_the_time_is_unknown_if_that_of_an_epoch_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    run.metrics.write_text('{"epochs": [{"epoch": 1, "seconds": 3.5}, {"epoch": 2, "seconds": null}]}')
    assert read_facts(run).seconds is None


def test_damaged_metrics_are_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ColourNetwork(6))
    run.metrics.write_text("{")
    with pytest.raises(UserError, match=r"metrics.json cannot be read as the metrics of a run"):
        read_facts(run)
