"""Learning from a teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SMALL_BATCHES

from cifar100 import commands
from cifar100.config import Config
from cifar100.data.dataset_info import read_info
from cifar100.data.folder.splits import load_split
from cifar100.data.image_batches import fit, normalize, resize
from cifar100.errors import UserError
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained
from cifar100.settings import load_config
from cifar100.training.optimization.distillation import distillation_loss, load_teacher


def test_the_loss_is_the_divergence_times_the_temperature_squared() -> None:
    student, teacher = torch.tensor([[0.0, 0.0], [3.0, 1.0]]), torch.tensor([[2.0, 0.0], [3.0, 1.0]])
    p, q = torch.tensor([2.0 / 2, 0.0]).softmax(0), torch.tensor([0.5, 0.5])
    expected = 4 * (p * (p / q).log()).sum() / 2  # the second image agrees
    torch.testing.assert_close(distillation_loss(student, teacher, temperature=2), expected)


def test_at_high_temperature_the_gradient_is_that_of_matching_logits() -> None:
    student, teacher = torch.randn(4, 10, requires_grad=True), torch.randn(4, 10)
    distillation_loss(student, teacher, temperature=1000).backward()
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, difference.detach() / 10 / 4, rtol=1e-2, atol=1e-4)  # section 2.1


@pytest.fixture
def settings(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {
        "data.root": tiny_data,
        "model.widths": [8, 8, 8],
        **SMALL_BATCHES,
        "training.max_epochs": 2,
        "training.accelerator": "cpu",
    }
    return lambda **changes: load_config("quickstart", overrides={**given, **changes})


@pytest.fixture
def teacher(settings: Callable[..., Config]) -> RunFolder:
    return commands.train(
        settings(**{"data.mean": [0.4, 0.5, 0.6], "data.std": [0.2, 0.25, 0.3]}), experiment="teacher"
    )


def test_the_teacher_sees_images_as_it_has_learned_them(teacher: RunFolder) -> None:
    info = read_info(teacher.dataset_info)
    loaded = load_teacher("teacher", info, load_split(teacher.split), mean=info.mean, std=info.std)
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    seen = normalize(images, torch.tensor(info.mean), torch.tensor(info.std))
    expected = load_trained(teacher, "best", device=torch.device("cpu")).logits(images)
    torch.testing.assert_close(loaded.logits(seen), expected.clone(), rtol=1e-3, atol=1e-3)
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_a_teacher_sees_images_of_its_own_size_whatever_that_of_the_batch_is(teacher: RunFolder) -> None:
    info = read_info(teacher.dataset_info)
    loaded = load_teacher("teacher", info, load_split(teacher.split), mean=info.mean, std=info.std)
    prepare, network = loaded.network
    shapes = []
    network.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    images = normalize(torch.randint(256, (5, 3, 32, 32)), torch.tensor(info.mean), torch.tensor(info.std))
    for side in (16, 24, 32):
        loaded.logits(resize(images, side))
    assert shapes == [(5, 3, 32, 32)] * 3
    small = resize(images, 16)
    with torch.autocast("cpu", torch.bfloat16):
        enlarged = prepare(small)
    assert torch.equal(enlarged, prepare(small))  # in float32, as in the run of the teacher
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (info.mean, info.std))
    levels = fit(small * std + mean, 32, rounded=False)
    torch.testing.assert_close(enlarged, normalize(levels, *torch.tensor([[0.4, 0.5, 0.6], [0.2, 0.25, 0.3]])))


@pytest.mark.parametrize("sam", ["none", "sam"])
def test_a_run_learns_from_its_teacher_and_goes_on_with_it(
    sam: str, settings: Callable[..., Config], teacher: RunFolder
) -> None:
    plain = commands.train(settings(**{"optimization.sam": sam}))
    distilled = {"optimization.teacher": "teacher", "optimization.teacher_weight": 0.9, "optimization.sam": sam}
    run = commands.train(settings(**distilled), experiment="student")
    assert json.loads(run.teacher.read_text())["run"] == "teacher"
    assert f"teacher  {Path('logs/teacher')}" in run.training_log.read_text()
    last, other = (read_checkpoint(folder.checkpoints / "last.ckpt")["state_dict"] for folder in (run, plain))
    assert last.keys() == other.keys()
    assert not torch.equal(last["network.head.weight"], other["network.head.weight"])
    assert commands.evaluate("student", split="validation").num_images == 100
    longer = commands.train(resume="student", changes={"training.max_epochs": 3})
    assert len(json.loads(longer.metrics.read_text())["epochs"]) == 3


def test_other_weights_under_the_teachers_name_are_refused(settings: Callable[..., Config], teacher: RunFolder) -> None:
    commands.train(settings(**{"optimization.teacher": "teacher"}), experiment="student")
    best, last = (teacher.checkpoints / name for name in ("best.ckpt", "last.ckpt"))
    last.replace(best)
    best.with_name("best.ckpt.sha256").unlink()
    with pytest.raises(UserError, match="the teacher has changed since this run started"):
        commands.train(resume="student", changes={"training.max_epochs": 3})


def test_a_teacher_that_knows_the_validation_images_is_refused(
    settings: Callable[..., Config], teacher: RunFolder
) -> None:
    other = {"optimization.teacher": "teacher", "data.split_seed": 1}
    with pytest.raises(UserError, match=r"was trained on \d+ of the 100 images that this run holds out"):
        commands.train(settings(**other))
    commands.train(settings(**{"optimization.teacher": "teacher", "data.validation_fraction": 0}))


def test_a_teacher_of_other_data_is_refused(
    settings: Callable[..., Config], teacher: RunFolder, tmp_path: Path
) -> None:
    from cifar100.data.folder.release_images import prepare_release
    from cifar100.data.sources.shapes100 import draw

    prepare_release(draw(train_per_class=3, test_per_class=2), tmp_path / "other")
    with pytest.raises(UserError, match=r"--optimization\.teacher teacher was trained on other data"):
        commands.train(
            settings(
                **{"optimization.teacher": "teacher", "data.root": tmp_path / "other", "data.validation_fraction": 0}
            )
        )


def test_a_teacher_that_does_not_exist_is_refused(settings: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match="no run 'nobody'"):
        commands.train(settings(**{"optimization.teacher": "nobody"}))
    assert not Path("logs").exists()
