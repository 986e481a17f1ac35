"""The linear probe: features that are computed once give the classifier the same as the images would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, small_config, stop_at
from torch import nn

from cifar100 import commands
from cifar100.config import Config, ModelConfig
from cifar100.data.folder.layout import DataFolder
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.runs.folder import RunFolder
from cifar100.runs.history import History
from cifar100.training.cost import step_timer
from cifar100.training.experiment import Experiment, assemble, make_split
from cifar100.training.finetuning import features as features_module
from cifar100.training.finetuning.features import check_cacheable, compute_features, on_features, sample_features
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.profiling.profile import TIMES

PLAIN = {"augmentation.flip": "none", "augmentation.crop_padding": 0}
NETWORK = {"model.name": "resnet18", "model.stem": "imagenet", "model.widths": None}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(build_model(ModelConfig(name="resnet18", stem="imagenet"), 7).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def probe(root: Path, weights: Path, **changes: Any) -> Config:
    settings = {"model.weights": weights, "model.freeze": "backbone", "model.cache_features": True}
    return small_config(root, **{**PLAIN, **NETWORK, **settings, **changes})


@pytest.fixture(scope="module")
def whole(tiny_data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run on features; not to be trained further."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = commands.train(probe(tiny_data, weights), experiment="whole")
    return RunFolder(folder / run.path)


def build(config: Config) -> Experiment:
    return assemble(config, DataFolder(config.data.root).info(), make_split(config))


def test_the_classifier_learns_what_it_would_learn_from_the_images(
    tiny_data: Path, weights: Path, whole: RunFolder
) -> None:
    plain = commands.train(probe(tiny_data, weights, **{"model.cache_features": False}), experiment="plain")
    for one, other in zip(History(whole.metrics, {}).epochs, History(plain.metrics, {}).epochs, strict=True):
        for name in ("train/loss", "val/loss"):
            assert one[name] == pytest.approx(other[name], rel=2e-3), name  # features are kept in half precision


def test_the_network_as_a_whole_has_the_accuracy_of_the_run(whole: RunFolder) -> None:
    best = History(whole.metrics, {}).best()
    assert best is not None
    measured = commands.evaluate(whole, split="validation").metrics["accuracy"].value
    assert measured == pytest.approx(best["val/accuracy"], abs=0.02)
    assert not list(whole.path.glob("features_*"))
    assert not whole.train_batch.exists()


def test_a_run_that_was_stopped_resumes_exactly(tiny_data: Path, weights: Path, whole: RunFolder) -> None:
    stopped = stop_at(20, probe(tiny_data, weights), name="stopped")
    assert len(list(stopped.path.glob("features_*.npy"))) == 1
    commands.train(resume=stopped)
    assert_same_run(whole, stopped)


def test_features_that_are_gone_are_computed_again(tiny_data: Path, weights: Path, whole: RunFolder) -> None:
    stopped = stop_at(20, probe(tiny_data, weights), name="stopped")
    for path in stopped.path.glob("features_*.npy"):
        path.unlink()
    commands.train(resume=stopped)
    assert_same_run(whole, stopped)


def test_features_are_those_before_the_classifier(tiny_data: Path, weights: Path, tmp_path: Path) -> None:
    experiment = build(probe(tiny_data, weights))
    run = RunFolder(tmp_path)
    compute_features(experiment, run)
    (path,) = tmp_path.glob("features_*.npy")
    found = np.load(path)
    assert (found.shape, found.dtype) == ((600, 512), np.float16)
    network = experiment.module.network.eval()
    images = torch.from_numpy(DataFolder(tiny_data).load("train")[0][:5]).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (experiment.data.mean, experiment.data.std))
    head, network.fc = network.fc, nn.Identity()
    expected = network((images - mean) / std)
    network.fc = head
    np.testing.assert_allclose(found[:5], expected.detach().numpy(), rtol=2e-3, atol=2e-3)
    loader = on_features(experiment, run).data.train_dataloader()
    features, labels = next(iter(loader))
    assert (features.shape, features.dtype, labels.shape) == ((32, 512), torch.float32, (32,))


def test_a_sample_gives_steps_on_features_and_the_time_of_all(tiny_data: Path, weights: Path) -> None:
    sampled, seconds = sample_features(build(probe(tiny_data, weights)), num_images=10)
    features, labels = next(iter(sampled.data.train_dataloader()))
    assert (features.shape, features.dtype, labels.shape) == ((32, 512), torch.float32, (32,))
    assert sampled.module(features).shape == (32, 100)
    assert seconds > 0


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, ...]]:
    """The shapes of what the steps of a test train on, without the number of images."""
    found: set[tuple[int, ...]] = set()
    step = ImageClassifier.training_step

    def watched(module: ImageClassifier, batch: Any, number: int) -> torch.Tensor:
        found.add(tuple(batch[0].shape[1:]))
        return step(module, batch, number)

    monkeypatch.setattr(ImageClassifier, "training_step", watched)
    return found


@pytest.mark.usefixtures("short_range_tests")
def test_the_range_test_takes_the_features_of_the_run(
    tiny_data: Path, weights: Path, shapes: set[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    compute = features_module._computed

    def watched(*arguments: Any, **options: Any) -> Any:
        computed.append(arguments)
        return compute(*arguments, **options)

    monkeypatch.setattr(features_module, "_computed", watched)
    monkeypatch.setattr("cifar100.training.lr_finder.suggestions.MIN_FALL", 0.0)  # random features teach little
    config = probe(tiny_data, weights, **{"optimization.learning_rate": "auto", "training.max_epochs": 1})
    run = commands.train(config)
    assert (len(computed), shapes) == (1, {(512,)})
    assert not list(run.path.glob("features_*"))
    commands.find_lr(config)
    assert (len(computed), shapes) == (2, {(512,)})
    assert not list(Path("logs").glob("*/features_*"))


@pytest.mark.parametrize("batch_size", [32, "auto"])
def test_estimates_take_steps_on_features(
    batch_size: int | str,
    tiny_data: Path,
    weights: Path,
    shapes: set[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_timer, "ENOUGH_SECONDS", 0.0)
    estimate = commands.dry_run(probe(tiny_data, weights, **{"data.batch_size": batch_size}))
    assert shapes == {(512,)}
    assert estimate.start_seconds > 0
    with pytest.raises(UserError, match=r"sam sam needs the images in every epoch"):
        commands.dry_run(probe(tiny_data, weights, **{"data.batch_size": batch_size, "optimization.sam": "sam"}))


def test_the_profile_is_that_of_the_classifier(
    tiny_data: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = commands.train(probe(tiny_data, weights, **{"training.profile": True}))
    facts = json.loads((run.profile / TIMES).read_text())
    assert facts["batches"] == [{"shape": [32, 512], "steps": 20}]
    assert facts["flops_per_step"] == 6 * 32 * 512 * 100
    assert "32 vectors of 512 features" in capsys.readouterr().out


def test_other_weights_have_other_features(tiny_data: Path, weights: Path, tmp_path: Path) -> None:
    experiment = build(probe(tiny_data, weights))
    run = RunFolder(tmp_path)
    compute_features(experiment, run)
    with torch.no_grad():
        experiment.module.network.fc.weight.add_(1)  # of the classifier, on which they do not depend
    compute_features(experiment, run)
    assert len(list(tmp_path.glob("features_*.npy"))) == 1
    with torch.no_grad():
        experiment.module.network.bn1.running_mean.add_(1)
    compute_features(experiment, run)
    assert len(list(tmp_path.glob("features_*.npy"))) == 2


def test_the_network_is_moved_outside_of_inference_mode(
    tiny_data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its buffers would come back from a GPU as tensors that a resumed run cannot load its state into."""
    experiment = build(probe(tiny_data, weights))
    move: Any = nn.Module.to
    modes: list[bool] = []

    def moved(module: nn.Module, *arguments: Any, **options: Any) -> Any:
        modes.append(torch.is_inference_mode_enabled())
        return move(module, *arguments, **options)

    monkeypatch.setattr(nn.Module, "to", moved)
    compute_features(experiment, RunFolder(tmp_path))
    assert modes
    assert not any(modes)


def test_a_damaged_file_of_features_is_one_line(tiny_data: Path, weights: Path, tmp_path: Path) -> None:
    experiment = build(probe(tiny_data, weights))
    compute_features(experiment, RunFolder(tmp_path))
    (path,) = tmp_path.glob("features_*.npy")
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be read \(.*\); remove it, and it is computed again"):
        on_features(experiment, RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation.flip": "random"}, "augmentation.flip random"),
        ({"augmentation.crop_padding": 4}, "augmentation.crop_padding 4"),
        ({"augmentation.mixup_probability": 0.5}, "augmentation.mixup_probability 0.5"),
        ({"training.resolutions": [32]}, r"training.resolutions \[32\]"),
        ({"optimization.sam": "sam"}, "optimization.sam sam"),
        ({"optimization.teacher": "other"}, "optimization.teacher other"),
        ({"data.pipeline": "images"}, "data.pipeline images"),
    ],
)
def test_what_needs_the_images_is_refused(changes: dict[str, Any], message: str, weights: Path) -> None:
    with pytest.raises(UserError, match=f"--{message} needs the images in every epoch.*recipe probe"):
        check_cacheable(probe(Path("data"), weights, **changes))
    check_cacheable(probe(Path("data"), weights))


class Scaled(nn.Module):
    """A network whose logits are not those of its last linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 100)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = 2 * self.layer(images.flatten(1))
        return logits


def test_a_network_with_something_after_its_classifier_is_refused(
    tiny_data: Path, weights: Path, tmp_path: Path
) -> None:
    experiment = build(probe(tiny_data, weights))
    experiment.module.network = Scaled()
    with pytest.raises(UserError, match="needs a network whose logits are those of its classifier"):
        compute_features(experiment, RunFolder(tmp_path))


def test_features_beyond_half_precision_are_refused(tiny_data: Path, weights: Path, tmp_path: Path) -> None:
    experiment = build(probe(tiny_data, weights))
    with torch.no_grad():
        experiment.module.network.layer4[1].bn2.weight.fill_(1e9)
    with pytest.raises(UserError, match=r"keeps features in half precision, but one is .*e\+"):
        compute_features(experiment, RunFolder(tmp_path))
