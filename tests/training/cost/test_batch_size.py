from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from limited_memory import run_limited
from small_runs import small_config

from cifar100 import commands
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.settings import load_config
from cifar100.training.cost import batch_size
from cifar100.training.cost.batch_size import resolve_batch_size, with_batch_size
from cifar100.training.cost.step_memory import StepMemory
from cifar100.training.cost.trial import Subject
from cifar100.training.experiment import make_split
from cifar100.training.preflight.custom_parts import CustomParts

MEGABYTE = 10**6


def subject(root: Path, **changes: Any) -> Subject:
    config = small_config(root, **{"data.batch_size": "auto", **changes})
    return Subject(config, DataFolder(root).info(), make_split(config), CustomParts())


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 100 MB for a network that takes 20 and 8 more for each image."""
    model = StepMemory(fixed=20 * MEGABYTE, per_image=8 * MEGABYTE)
    monkeypatch.setattr(batch_size, "measure_step_memory", lambda subject, device, largest: model)
    monkeypatch.setattr(batch_size, "usable_memory", lambda device, processes: 100 * MEGABYTE / processes)


@pytest.mark.usefixtures("memory")
def test_the_largest_power_of_two_that_fits(tiny_data: Path) -> None:
    config, lines = with_batch_size(subject(tiny_data))
    assert config.data.batch_size == 8
    assert "8 images (the largest power of two that fits, about 84 MB of 100 MB that it may take)" in lines[0]


@pytest.mark.usefixtures("memory")
def test_the_processes_of_a_machine_share_its_memory(tiny_data: Path) -> None:
    config, _ = with_batch_size(subject(tiny_data, **{"training.devices": 2}))
    assert config.data.batch_size == 2


@pytest.mark.usefixtures("memory")
def test_an_epoch_keeps_twenty_steps(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "usable_memory", lambda device, processes: 10**12)
    config, lines = with_batch_size(subject(tiny_data))
    assert config.data.batch_size == 16  # 500 training images
    assert "an epoch keeps 20 steps" in lines[0]


@pytest.mark.usefixtures("memory")
def test_no_memory_at_all_is_one_line(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "usable_memory", lambda device, processes: 30 * MEGABYTE)
    with pytest.raises(UserError, match=r"a step of 2 images needs about 36 MB, but 30 MB are free \(cpu\); choose"):
        with_batch_size(subject(tiny_data))


def test_nothing_is_measured_without_auto(tiny_data: Path) -> None:
    given = subject(tiny_data, **{"data.batch_size": 32})
    assert resolve_batch_size(given) is given.config


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("changes", "rates", "line"),
    [
        ({}, (0.01875, 0.18), "0.3 for 128 images -> 0.01875 for 8 (linear rule, Goyal et al., 2017)"),
        ({"optimization.learning_rate": 0.25}, (0.25, 0.18), "0.25: given by hand, not scaled"),
        ({"optimization.learning_rate": "auto"}, ("auto", 0.18), "the range test takes batches of this size"),
        ({"optimization.optimizer": "adamw"}, (0.3, 0.18), "0.3: given by hand, not scaled"),  # another optimizer
    ],
)
def test_the_learning_rate_of_the_recipe_is_scaled(
    changes: dict[str, Any], rates: tuple[Any, float], line: str, tiny_data: Path
) -> None:
    config, lines = with_batch_size(subject(tiny_data, **changes))
    assert (config.optimization.learning_rate, config.optimization.muon_learning_rate) == rates
    assert any(line in told for told in lines), lines


@pytest.mark.usefixtures("memory")
def test_both_learning_rates_of_muon_are_scaled_by_the_square_root(tiny_data: Path) -> None:
    config = load_config(
        "laptop",
        overrides={"data.root": tiny_data, "data.source": "generated", "data.batch_size": "auto"},
    )
    found, lines = with_batch_size(Subject(config, DataFolder(tiny_data).info(), make_split(config), CustomParts()))
    assert found.data.batch_size == 8  # an eighth of 512 to the power of two: 64 times smaller
    assert found.optimization.learning_rate == pytest.approx(0.98 / 8)
    assert found.optimization.muon_learning_rate == pytest.approx(0.127 / 8, rel=1e-3)
    assert len(lines) == 3


def test_a_run_keeps_the_numbers_and_resumes_with_them(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = commands.train(small_config(tiny_data, **{"data.batch_size": "auto", "training.max_epochs": 1}))
    assert "--data.batch_size auto: 16 images" in capsys.readouterr().out
    kept = load_config(files=[run.config])
    assert (kept.data.batch_size, kept.optimization.learning_rate) == (16, 0.0375)
    commands.train(resume=run, changes={"training.max_epochs": 2})
    assert load_config(files=[run.config]).data.batch_size == 16
    with pytest.raises(UserError, match=r"--data.batch_size auto works only at the start of a run; set a number"):
        commands.train(resume=run, changes={"training.max_epochs": 3, "data.batch_size": "auto"})


@pytest.mark.slow
def test_a_real_limit_of_the_memory_is_kept(tiny_data: Path, tmp_path: Path) -> None:
    """Under `ulimit -v`, steps of the batch that was chosen can be taken."""
    if sys.platform != "linux":
        pytest.skip("measures through /proc")
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from test_batch_size import subject\n"
        "from cifar100.training.cost import batch_size, trial\n"
        "batch_size.MIN_STEPS_PER_EPOCH = 1\n"
        "what = subject(Path(sys.argv[1]), **{'model.widths': [512, 512, 512]})\n"
        "config, lines = batch_size.with_batch_size(what)\n"
        "print(config.data.batch_size, lines[0])\n"
        "t = trial.Trial(what.with_batch_size(config.data.batch_size), device=torch.device('cpu'))\n"
        "t.step(); t.step()\n"
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    places = os.pathsep.join([str(Path(__file__).parents[2] / "support"), *sys.path])
    arguments = [str(file), str(tiny_data), str(Path(__file__).parent)]
    done = run_limited(arguments, megabytes=1000, PYTHONPATH=places)
    assert done.returncode == 0, done.stderr
    images = int(done.stdout.split()[0])
    assert 2 <= images < 256
    assert "that fits" in done.stdout


def test_a_gpu_that_cannot_hold_it_gets_half(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class FullGPU:
        def __init__(self, subject: Subject, *, device: torch.device) -> None:
            self.images = subject.config.data.images_per_step

        def step(self) -> None:
            tried.append(self.images)
            if self.images > 16:
                raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(batch_size, "Trial", FullGPU)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert batch_size._confirmed(subject(tiny_data), 64, torch.device("cuda")) == 16
    assert tried == [64, 32, 16]
