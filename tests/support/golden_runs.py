"""Short deterministic runs of every recipe, whose losses are stored in `tests/golden/`.

    python tests/support/golden_runs.py            # record all anew, in a commit that changes results on purpose
    python tests/support/golden_runs.py laptop     # record one

A refactoring must reproduce the stored losses; `tests/test_golden.py` compares them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.release_images import prepare_release
from cifar100.data.sources.shapes100 import draw
from cifar100.settings import load_config
from cifar100.training.experiment import assemble, make_split
from cifar100.training.trainer import StopAtTheEnd, build_trainer

GOLDEN = Path(__file__).parents[1] / "golden"

SMALL = {"data.source": "generated", "data.batch_size": 32, "data.validation_fraction": 0.1}
SHORT = {"training.max_epochs": 3, "training.limit_train_batches": 2, "training.max_minutes": None}
STABLE = {"optimization.learning_rate": 0.0001}
"""Low rates: training amplifies the last digits of a sum, in which processors differ."""

TOLERANCES = {"best": 1e-2, "strong": 5e-3, "budget": 3e-4, "fast": 3e-4, "laptop": 3e-4, "probe": 3e-4}
"""Largest relative difference of a loss; 1e-5 for the other recipes. AVX2 instead of AVX-512 instructions changes the
losses of a deep network by up to 2e-3 within six steps, of Friendly SAM by up to 6e-4, and all others by less than 1e-6
(ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2, torch 2.13, AMD EPYC, 2026-11-26). An Intel Xeon with AMX changes the
recipes with Muon by up to 4.5e-5 and the others by less than 1e-5 (2026-11-26), and an AMD EPYC (Zen 4) `probe` by
6.3e-5 (torch 2.15, 2026-11-27)."""

EXACT = {"training.accelerator": "cpu", "training.precision": "32-true", "training.deterministic": True}


class LossRecorder(Callback):
    """Keeps the training loss of every step and the validation loss of every epoch."""

    def __init__(self) -> None:
        self.losses: dict[str, list[float]] = {"train/loss": [], "val/loss": []}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses["train/loss"].append(float(outputs["loss"]))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.losses["val/loss"].append(float(trainer.callback_metrics["val/loss"]))


def run(recipe: str, root: Path) -> dict[str, list[float]]:
    """Train six steps of a recipe on Shapes-100 in `root`; return the losses of the steps and of the epochs."""
    plain = load_config(recipe)
    overrides: dict[str, Any] = {**SMALL, **SHORT, **STABLE, **EXACT, "data.root": root}
    if plain.optimization.optimizer == "muon":
        overrides["optimization.muon_learning_rate"] = 0.01
    if plain.model.name == "fast_net":  # Muon takes seconds a step for the widths of some recipes
        overrides["model.widths"] = [32, 48, 64]
    if plain.model.pretrained:
        overrides |= {"model.pretrained": False, "data.image_size": 32}
    if plain.data.pipeline == "images":
        overrides["data.num_workers"] = 0
    config = load_config(recipe, overrides=overrides)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over more threads differ in their last digits
    recorder = LossRecorder()
    try:
        experiment = assemble(config, DataFolder(root).info(), make_split(config))
        trainer = build_trainer(config.training, root.parent, callbacks=[StopAtTheEnd(experiment.clock), recorder])
        trainer.fit(experiment.module, datamodule=experiment.data)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    return recorder.losses


def draw_data(root: Path) -> Path:
    """Prepare the 600 training images of the golden runs in `root`."""
    prepare_release(draw(train_per_class=6, test_per_class=2), root)
    return root


def stored(recipe: str) -> Path:
    """Where the losses of a recipe are stored."""
    return GOLDEN / f"{recipe}.json"


if __name__ == "__main__":
    from cifar100.settings import recipe_names

    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = draw_data(Path(folder) / "data")
        for name in sys.argv[1:] or recipe_names():
            stored(name).write_text(json.dumps(run(name, data), indent=1) + "\n")
            print(name, stored(name).read_text().replace("\n", ""))
