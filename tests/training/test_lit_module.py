"""The LightningModule under a Trainer of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from small_runs import SMALL_BATCHES, small_config, without
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from cifar100 import commands
from cifar100.config import Config, ModelConfig, OptimizationConfig
from cifar100.errors import UserError
from cifar100.metrics import METRICS, says_something
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.training.lit_module import ImageClassifier
from cifar100.training.optimization.clock import RunClock
from cifar100.training.reporting.silence import quiet


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loader(num_images: int = 24, *, batch_size: int = 8) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(num_images, 3, 16, 16, generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(num_images) % 4), batch_size=batch_size)


def classifier(**optimization: Any) -> ImageClassifier:
    torch.manual_seed(0)
    config = Config(
        model=ModelConfig(name="fast_net", widths=(8, 8, 8)), optimization=OptimizationConfig(**optimization)
    )
    return ImageClassifier(config, 4)


def trainer(*callbacks: Callback, **options: Any) -> L.Trainer:
    quietly = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    given = {"max_epochs": 2, "enable_checkpointing": False, **quietly, **options}
    return L.Trainer(accelerator="cpu", callbacks=list(callbacks), **given)


@pytest.fixture(autouse=True)
def without_lightnings_hints() -> Iterator[None]:
    with quiet():
        yield


def test_fit_validate_test_and_predict_work_with_plain_loaders() -> None:
    module, own = classifier(), trainer(max_epochs=5)
    (before,) = own.validate(module, loader(), verbose=False)
    own.fit(module, loader(), loader())
    (after,) = own.validate(module, loader(), verbose=False)
    assert after["val/loss"] < before["val/loss"]
    (tested,) = own.test(module, loader(), verbose=False)
    assert {name.removeprefix("test/"): value for name, value in tested.items()} == {
        name.removeprefix("val/"): value for name, value in after.items()
    }
    probabilities = torch.cat(own.predict(module, loader()))  # type: ignore[arg-type]
    assert probabilities.shape == (24, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(24))
    images, labels = loader().dataset.tensors  # type: ignore[attr-defined]
    with torch.inference_mode():
        logits = module.eval()(images)
    torch.testing.assert_close(probabilities, logits.softmax(1))
    for name, metric in METRICS.items():
        if not says_something(name, num_classes=4):
            assert f"val/{name}" not in after
            continue
        assert after[f"val/{name}"] == pytest.approx(metric(logits, labels).mean().item(), rel=1e-5)


def test_predict_takes_images_alone() -> None:
    images = DataLoader(torch.zeros(3, 3, 16, 16), batch_size=2)
    assert [len(batch) for batch in trainer().predict(classifier(), images)] == [2, 1]  # type: ignore[union-attr]


def test_the_schedule_spans_the_steps_of_the_trainer() -> None:
    class Rates(Callback):
        rates: ClassVar[list[float]] = []

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    module = classifier(schedule="linear", pct_start=0.0, div_factor=1.0, final_div_factor=5.0, learning_rate=0.5)
    trainer(Rates(), max_epochs=2).fit(module, loader())
    assert Rates.rates == pytest.approx([0.5, 0.42, 0.34, 0.26, 0.18, 0.1])


def test_momentum_cycles() -> None:
    class Momenta(Callback):
        momenta: ClassVar[list[float]] = []

        def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
            self.momenta.append(optimizer.param_groups[0]["momentum"])

    module = classifier(schedule="one_cycle", pct_start=0.5, cycle_momentum=True)
    trainer(Momenta(), max_epochs=2).fit(module, loader())
    assert Momenta.momenta[0] == pytest.approx(0.95)
    assert Momenta.momenta[-1] == pytest.approx(0.95)
    assert min(Momenta.momenta) < 0.87


@pytest.mark.parametrize(("monitor", "mode"), [("val/accuracy", "max"), ("train/loss", "min")])
def test_early_stopping_ends_a_fit(monitor: str, mode: str) -> None:
    stopping = EarlyStopping(monitor, mode=mode, patience=1, min_delta=1000.0)  # nothing improves by that much
    own = trainer(stopping, max_epochs=9)
    own.fit(classifier(), loader(), loader())
    assert own.current_epoch == 2 + (stopping.best_score.isinf().item() is True)
    assert stopping.stopped_epoch == 1


@pytest.mark.parametrize(("monitor", "mode"), [("val/accuracy", "max"), ("train/loss", "min")])
def test_early_stopping_ends_a_run(monitor: str, mode: str, tiny_data: Path) -> None:
    stopping = EarlyStopping(monitor, mode=mode, patience=1, min_delta=1000.0)
    config = small_config(tiny_data, **SMALL_BATCHES, **{"training.max_epochs": 9})
    run = commands.train(config, callbacks=[stopping])
    content = json.loads(run.metrics.read_text())
    assert len(content["epochs"]) == 2
    assert stopping.best_score.item() == pytest.approx(content["epochs"][0][monitor], abs=1e-6)
    assert read_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 30


@pytest.mark.parametrize("changes", [{}, {"optimization.ema_decay": 0.9}, {"optimization.sam": "friendly"}])
def test_a_checkpoint_of_a_run_is_loaded_as_any_other(changes: dict[str, Any], tiny_data: Path) -> None:
    run = commands.train(small_config(tiny_data, **{"training.max_epochs": 1, **changes}))
    for name in ("best.ckpt", "last.ckpt"):
        content = read_checkpoint(run.checkpoints / name)
        module = ImageClassifier.load_from_checkpoint(run.checkpoints / name, map_location="cpu", weights_only=True)
        expected = {key: value for key, value in content["state_dict"].items() if key.startswith("network.")}
        assert expected
        for key, value in expected.items():
            assert torch.equal(module.state_dict()[key], value), key
        assert module.num_classes == 100
        assert module.config.model.widths == (8, 8, 8)
    best, last = (read_checkpoint(run.checkpoints / name) for name in ("best.ckpt", "last.ckpt"))
    assert best["averaged"] is ("optimization.ema_decay" in changes)
    same = torch.equal(best["state_dict"]["network.head.weight"], last["state_dict"]["network.head.weight"])
    assert same is not best["averaged"]


class Custom(nn.Module):
    """A network that no registry knows."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


def test_a_checkpoint_of_a_custom_network_is_loaded_with_it(tiny_data: Path) -> None:
    run = commands.train(without(small_config(tiny_data, **{"training.max_epochs": 1}), "model"), network=Custom)
    for name in ("best.ckpt", "last.ckpt"):
        path = run.checkpoints / name
        module = ImageClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True, network=Custom)
        saved = read_checkpoint(path)["state_dict"]["network.linear.weight"]
        assert torch.equal(module.network.linear.weight, saved)  # type: ignore[union-attr]


def test_a_custom_loss_is_used() -> None:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return 7 * F.cross_entropy(logits, labels)

    module, other = classifier(), classifier()
    module.loss = loss
    batch = next(iter(loader()))
    assert module.training_step(batch, 0).item() == pytest.approx(7 * other.training_step(batch, 0).item(), rel=1e-5)


def test_mixed_labels_count_the_larger_fraction() -> None:
    module = classifier()
    images = torch.randn(8, 3, 16, 16)
    labels = F.one_hot(torch.arange(8) % 4, 4) * 0.7 + 0.3 / 4
    module.training_step((images, labels), 0)
    with torch.no_grad():
        expected = (module(images).argmax(1) == torch.arange(8) % 4).float().mean()
    assert module.train_sums.means()["accuracy"] == pytest.approx(expected.item())


def test_each_fit_has_a_schedule_of_its_own() -> None:
    module = classifier()
    rates: list[float] = []
    for epochs in (1, 2):
        trainer(max_epochs=epochs).fit(module, loader())
        assert module.clock is not None
        assert module.clock.total_steps == module.clock.steps == 3 * epochs
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
    assert rates[0] == pytest.approx(rates[1])


def test_the_processes_of_a_resumed_run_begin_at_the_time_of_rank_zero() -> None:
    """Also if its GPUs would not agree on the time after this step."""
    clock = RunClock(None, max_seconds=100)
    module = ImageClassifier(Config(model=ModelConfig(name="fast_net", widths=(8, 8, 8))), 4, clock=clock)
    clock.resume(steps=37, seconds=60)
    strategy = SimpleNamespace(root_device=torch.device("cuda"), broadcast=lambda seconds, src: 42.0)
    two_ranks: Any = SimpleNamespace(world_size=2, strategy=strategy, lr_scheduler_configs=[])
    module._trainer = two_ranks
    module.on_train_start()
    assert clock.seconds == 42


def test_a_trainer_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="set max_epochs or max_steps of the Trainer"):
        trainer(max_epochs=-1, max_time={"seconds": 5}).fit(classifier(), loader())
    with pytest.raises(UserError, match=r"optimization.learning_rate is auto"):
        trainer().fit(classifier(learning_rate="auto"), loader())


class Wrong(nn.Module):
    """Returns what the test asks for."""

    def __init__(self, output: Callable[[int], Any]) -> None:
        super().__init__()
        self.output = output
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Any:
        return self.output(len(images))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda number: torch.zeros(number, 3), r"\(8, 3\)"),
        (lambda number: torch.zeros(number, 1000), r"\(8, 1000\)"),
        (lambda number: torch.zeros(number, 4, 1, 1), r"\(8, 4, 1, 1\)"),
        (lambda number: torch.zeros(number - 1, 4), r"\(7, 4\)"),
        (lambda number: (torch.zeros(number, 4), None), "tuple"),
    ],
)
def test_an_output_that_does_not_fit_the_classes_gets_one_sentence(output: Any, found: str) -> None:
    module = ImageClassifier(Config(), 4, network=Wrong(output))
    batch = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    for step in (module.training_step, module.validation_step):
        with pytest.raises(UserError, match=rf"^the network returns {found} for 8 images, expected logits \(8, 4\)"):
            step(batch, 0)


def test_a_single_image_that_batch_normalisation_cannot_train_on_gets_one_sentence() -> None:
    config = Config(model=ModelConfig(name="resnet18", stem="imagenet"))
    module = ImageClassifier(config, 4)
    one = torch.randn(1, 3, 32, 32), torch.tensor([2])
    with pytest.raises(UserError, match=r"a training batch has 1 image, .*; use a --data.batch_size of at least 2\.$"):
        module.training_step(one, 0)
    module.eval().validation_step(one, 0)
    assert ImageClassifier(Config(), 4).training_step(one, 0).isfinite()  # the last layer has 4 x 4 pixels
