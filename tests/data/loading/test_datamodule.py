import multiprocessing
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from small_folder import make_folder

from cifar100.config import AugmentationConfig, Config, DataConfig, TrainingConfig
from cifar100.data.folder.layout import DataFolder
from cifar100.data.folder.splits import stratified_split
from cifar100.data.loading.datamodule import CifarDataModule
from cifar100.errors import UserError

MISSION = AugmentationConfig(crop_padding=0, shift=0.0625, scale=0.1, rotate=45, cutout=16)
PIPELINES = [("packed", 0), ("images", 0), ("images", 2)]


def make(root, *, pipeline="packed", num_workers=0, fraction=0.2, sampler="shuffled", **training):
    info = DataFolder(root).info() if DataFolder(root).is_prepared() else make_folder(root)
    workers = {"num_workers": num_workers} if pipeline == "images" else {}
    config = Config(
        data=DataConfig(root=root, pipeline=pipeline, batch_size=8, sampler=sampler, **workers),
        augmentation=MISSION,
        training=TrainingConfig(**training),
    )
    _, labels = DataFolder(root).load("train")
    return CifarDataModule(config, info, stratified_split(labels, fraction=fraction, seed=0))


class Recorder(lightning.LightningModule):
    """Keeps what it is given; its one weight hardly moves."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        self.seen["train"].append((self.current_epoch, batch_idx, batch[0].clone(), batch[1].clone()))
        return self.weight * batch[0].mean()

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append((self.current_epoch, batch_idx, batch[0].clone(), batch[1].clone()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def fit(data, *, module=Recorder, max_epochs=2, ckpt_path=None, **settings):
    module = module()
    trainer = lightning.Trainer(
        **({"callbacks": [], "enable_checkpointing": False} | settings),
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return module.seen


def same(first, second):
    return len(first) == len(second) and all(
        a[:2] == b[:2] and torch.equal(a[2], b[2]) and torch.equal(a[3], b[3])
        for a, b in zip(first, second, strict=True)
    )


# Lightning reaches into torch's pytree, which torch 2.13 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*LeafSpec:DeprecationWarning")


@pytest.mark.parametrize(("pipeline", "num_workers"), PIPELINES)
def test_lightning_feeds_each_epoch_in_another_order(tmp_path, pipeline, num_workers):
    data = make(tmp_path, pipeline=pipeline, num_workers=num_workers)
    seen = fit(data, max_epochs=3)
    assert data.num_train == 50
    assert [(epoch, step) for epoch, step, *_ in seen["train"]] == [(e, s) for e in range(3) for s in range(6)]
    orders = [torch.cat([labels for epoch, _, _, labels in seen["train"] if epoch == e]) for e in range(3)]
    assert not torch.equal(orders[0], orders[1])
    for epoch in range(3):
        loader = make(tmp_path).train_dataloader()
        loader.sampler.set_epoch(epoch)
        _, all_labels = DataFolder(tmp_path).load("train")
        assert orders[epoch].tolist() == all_labels[np.concatenate(loader.sampler.batches())].tolist()


@pytest.mark.parametrize(("pipeline", "num_workers"), PIPELINES)
def test_validation_sees_every_held_out_image_once_unchanged_and_normalised(tmp_path, pipeline, num_workers):
    data = make(tmp_path, pipeline=pipeline, num_workers=num_workers)
    seen = fit(data, max_epochs=2)["val"]
    images, labels = DataFolder(tmp_path).load("train")
    scaled = torch.from_numpy(images[data.split.validation]).double() / 255
    expected = (scaled - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)
    for epoch in range(2):
        given = torch.cat([images for e, _, images, _ in seen if e == epoch])
        torch.testing.assert_close(given.double(), expected, atol=1e-5, rtol=1e-5)
        given_labels = torch.cat([labels for e, _, _, labels in seen if e == epoch])
        assert given_labels.tolist() == labels[data.split.validation].tolist()


def test_both_pipelines_show_the_same_images_if_nothing_is_random(tmp_path):
    make_folder(tmp_path)
    off = AugmentationConfig(flip="none", crop_padding=0)
    seen = []
    for pipeline in ("packed", "images"):
        data = make(tmp_path, pipeline=pipeline)
        data.config = replace(data.config, augmentation=off)
        seen.append(fit(data)["train"])
    assert same(*seen)


@pytest.mark.parametrize("pipeline", ["packed", "images"])
def test_channels_last(tmp_path, pipeline):
    data = make(tmp_path, pipeline=pipeline, channels_last=True)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch[0].dtype == torch.float32
    assert batch[0].is_contiguous(memory_format=torch.channels_last)


class SaveAt(Callback):
    """Saves after a number of batches."""

    def __init__(self, path, batches):
        self.path, self.batches = path, batches

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.batches:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("batches", [1, 5, 6, 8, 12])
@pytest.mark.parametrize(("pipeline", "num_workers"), PIPELINES[:2])
def test_run_resumed_at_any_step_sees_what_the_undisturbed_run_sees(tmp_path, pipeline, num_workers, batches):
    path = tmp_path / "run.ckpt"
    undisturbed = fit(make(tmp_path / "data", pipeline=pipeline), max_epochs=3)["train"]
    fit(make(tmp_path / "data", pipeline=pipeline), max_epochs=3, callbacks=[SaveAt(path, batches)])
    resumed = fit(make(tmp_path / "data", pipeline=pipeline, num_workers=num_workers), max_epochs=3, ckpt_path=path)
    assert same(resumed["train"], undisturbed[batches:])


@pytest.mark.parametrize("batches", [5, 8])
@pytest.mark.parametrize("pipeline", ["packed", "images"])
def test_a_run_with_balanced_classes_resumes_exactly(tmp_path, pipeline, batches):
    path, settings = tmp_path / "run.ckpt", {"pipeline": pipeline, "sampler": "balanced"}
    undisturbed = fit(make(tmp_path / "data", **settings), max_epochs=3)["train"]
    fit(make(tmp_path / "data", **settings), max_epochs=3, callbacks=[SaveAt(path, batches)])
    resumed = fit(make(tmp_path / "data", **settings), max_epochs=3, ckpt_path=path)
    assert same(resumed["train"], undisturbed[batches:])
    assert not same(undisturbed[:5], fit(make(tmp_path / "data", pipeline=pipeline), max_epochs=1)["train"][:5])


class SaveInEpoch(Callback):
    """Saves when one hook is called in epoch 1."""

    def __init__(self, path, hook):
        def save(trainer, _):
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(path)

        setattr(self, hook, save)


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
@pytest.mark.parametrize(("pipeline", "num_workers"), PIPELINES)
def test_run_resumed_after_an_epoch_sees_what_the_undisturbed_run_sees(tmp_path, pipeline, num_workers, hook):
    data, path = make(tmp_path / "data", pipeline=pipeline), tmp_path / "run.ckpt"
    undisturbed = fit(data, max_epochs=3, callbacks=[SaveInEpoch(path, hook)])["train"]
    again = make(tmp_path / "data", pipeline=pipeline, num_workers=num_workers)
    assert same(fit(again, max_epochs=3, ckpt_path=path)["train"], undisturbed[12:])


def test_without_validation_there_is_no_loader(tmp_path):
    data = make(tmp_path, fraction=0)
    assert data.val_dataloader() == []
    assert data.num_train == 60
    assert len(fit(data, limit_val_batches=0)["val"]) == 0  # Lightning warns of an empty list unless told


@pytest.mark.parametrize("pipeline", ["packed", "images"])
def test_the_test_split_is_not_opened(tmp_path, pipeline):
    data = make(tmp_path, pipeline=pipeline)
    folder = DataFolder(tmp_path)
    folder.packed_images("test").unlink()
    folder.packed_labels("test").unlink()
    folder.csv("test").unlink()
    shutil.rmtree(folder.images / "test_images")
    assert len(fit(data)["train"]) == 12


class Failing(Recorder):
    def training_step(self, batch, batch_idx):
        raise KeyError("a bug")


@pytest.mark.parametrize("module", [Recorder, Failing])
def test_no_worker_outlives_the_run(tmp_path, module):
    data = make(tmp_path, pipeline="images", num_workers=1)
    before = set(multiprocessing.active_children())
    with suppress(KeyError):
        fit(data, module=module)
    assert set(multiprocessing.active_children()) <= before


class SharedRecorder(Recorder):
    """Leaves what each process has seen in a file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_end(self):
        torch.save(self.seen, self.folder / f"{self.global_rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize(("pipeline", "num_workers"), [("packed", 0), ("images", 1)])
def test_two_processes_together_see_what_one_sees(tmp_path, pipeline, num_workers):
    data = make(tmp_path / "data", pipeline=pipeline, num_workers=num_workers, devices=2)
    settings = {"devices": 2, "strategy": "ddp_spawn", "use_distributed_sampler": False}
    fit(data, module=lambda: SharedRecorder(tmp_path), **settings)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]

    alone = make(tmp_path / "data", pipeline=pipeline)
    alone.config = replace(alone.config, data=replace(alone.config.data, batch_size=16))
    seen = fit(alone)
    for step, (epoch, batch_idx, images, labels) in enumerate(seen["train"]):
        assert [rank["train"][step][:2] for rank in ranks] == [(epoch, batch_idx)] * 2
        for part, expected in ((2, images), (3, labels)):
            joint = torch.stack([rank["train"][step][part] for rank in ranks], dim=1).flatten(0, 1)
            assert torch.equal(joint, expected)
    assert sorted(pixel_sums(ranks[0]["val"] + ranks[1]["val"])) == sorted(pixel_sums(seen["val"]))


def pixel_sums(batches):
    """One number for each image, different for all."""
    return torch.cat([images.double().sum(dim=(1, 2, 3)) for _, _, images, _ in batches]).tolist()


def test_steps_per_epoch(tmp_path):
    assert make(tmp_path).steps_per_epoch == 6
    assert make(tmp_path, devices=2).steps_per_epoch == 3  # also before the Trainer is attached
    assert len(make(tmp_path).train_dataloader()) == 6


def test_statistics_of_the_configuration_go_before_those_of_the_data(tmp_path):
    data = make(tmp_path)
    assert (data.mean, data.std) == (data.info.mean, data.info.std)
    chosen = replace(data.config, data=replace(data.config.data, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    data = CifarDataModule(chosen, data.info, data.split)
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_split_of_other_data_is_refused(tmp_path):
    data = make(tmp_path)
    other = stratified_split(np.repeat(np.arange(5), 20), fraction=0.1, seed=0)
    with pytest.raises(UserError, match=r"is for 100 images, but .* holds 60 training images"):
        CifarDataModule(data.config, data.info, other)


def test_packed_pipeline_needs_neither_opencv_nor_albumentations(tmp_path):
    make_folder(tmp_path)
    program = (
        "import sys; from pathlib import Path; from test_datamodule import make\n"
        "def loaded(): return {'cv2', 'albumentations'} & set(sys.modules)\n"
        f"data = make(Path({str(tmp_path)!r}))\n"
        "next(iter(data.train_dataloader())); next(iter(data.val_dataloader()))\n"
        "assert not loaded(), loaded()\n"
        f"next(iter(make(Path({str(tmp_path)!r}), pipeline='images').train_dataloader()))\n"
        "assert len(loaded()) == 2\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
