import contextlib
import multiprocessing
import os
import signal
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from failing_datasets import Buggy, Full
from small_folder import make_folder
from thread_counts import ThreadCounts

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.single_image import build_transform
from cifar100.data.folder.layout import DataFolder
from cifar100.data.loading.dataset import CsvImageDataset
from cifar100.data.loading.image_loader import ImageLoader, resolve_num_workers
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError

MISSION = AugmentationConfig(crop_padding=4, shift=0.0625, scale=0.1, rotate=45, cutout=16)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path)
    return DataFolder(tmp_path)


def make(folder, *, num_workers=0, kind=CsvImageDataset):
    dataset = kind(folder.csv("train"), folder.images, transform=build_transform(MISSION), seed=1)
    sampler = EpochSampler(np.arange(60), batch_size=8, training=True, seed=1)
    return ImageLoader(dataset, sampler, num_workers=num_workers)


def epoch_of(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_batches_hold_the_sampled_images(folder):
    loader = make(folder)
    batches = epoch_of(loader, 2)
    assert len(batches) == len(loader) == 7
    for (images, labels), indices in zip(batches, loader.sampler.batches(), strict=True):
        assert (images.shape, images.dtype, labels.dtype) == ((8, 3, 32, 32), torch.uint8, torch.int64)
        for image, label, index in zip(images, labels, indices, strict=True):
            expected, expected_label = loader._dataset.dataset[2, int(index)]
            assert torch.equal(image, expected)
            assert label == expected_label


def test_images_do_not_depend_on_the_number_of_workers_and_differ_from_epoch_to_epoch(folder):
    alone, one, two = (make(folder, num_workers=count) for count in range(3))
    epochs = [epoch_of(alone, epoch) for epoch in range(2)]
    for workers in (one, two):
        assert [same(epoch_of(workers, epoch), epochs[epoch]) for epoch in range(2)] == [True, True]
    assert not torch.equal(pictures(epochs[0]), pictures(epochs[1]))


def pictures(batches):
    """The images in the order of their pixels' sums, as the order of an epoch differs anyway."""
    images = torch.cat([images for images, _ in batches])
    return images[images.flatten(1).long().sum(dim=1).argsort()]


def test_resumed_epoch_equals_the_rest_of_the_undisturbed_one(folder):
    loader = make(folder, num_workers=2)
    loader.sampler.set_epoch(1)
    list(islice(loader, 3))
    assert loader.state_dict() == {"epoch": 1, "step": 3}  # and not what the workers have prepared beyond
    resumed = make(folder)
    resumed.load_state_dict(loader.state_dict())
    undisturbed = epoch_of(make(folder), 1)
    assert same(epoch_of(resumed, 1), undisturbed[3:])
    assert same(epoch_of(loader, 1), undisturbed)  # an epoch broken off leaves nothing behind in the workers


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_image_is_one_line(folder, num_workers):
    (folder.images / "train_images" / "030.png").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        epoch_of(make(folder, num_workers=num_workers), 0) + epoch_of(make(folder, num_workers=num_workers), 1)
    assert str(caught.value).endswith("030.png is damaged or not an image (8 bytes); restore it or leave it out.")
    assert "\n" not in str(caught.value)


def test_global_random_state_is_left_alone(folder):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch_of(make(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_closed_loader_leaves_no_worker_and_can_start_again(folder):
    loader = make(folder, num_workers=2)
    first = epoch_of(loader)
    assert len(multiprocessing.active_children()) >= 2
    workers = loader._loader._iterator._workers
    next(iter(loader))  # workers are busy with the next batches
    loader.close()
    loader.close()
    assert [worker.is_alive() for worker in workers] == [False, False]
    assert same(epoch_of(loader), first)
    loader.close()


def test_workers_do_not_start_threads_of_opencv(folder):
    labels = torch.cat([labels for _, labels in epoch_of(make(folder, num_workers=2, kind=ThreadCounts))])
    assert len(set((labels // 1000).tolist())) == 2  # two workers
    assert os.getpid() not in set((labels // 1000).tolist())
    assert max((labels % 1000 // 10).tolist()) <= 1
    assert cv2.getNumThreads() <= 1


def test_number_of_workers(monkeypatch):
    assert resolve_num_workers(3) == 3
    assert resolve_num_workers(0) == 0
    for processors, num_processes, expected in ((2, 1, 2), (64, 1, 8), (64, 16, 4), (2, 4, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processors: set(range(n)), raising=False)
        assert resolve_num_workers("auto", num_processes=num_processes) == expected


def kill_a_worker(loader):
    worker = loader._loader._iterator._workers[0]
    with contextlib.suppress(ProcessLookupError):  # it may be dead already
        os.kill(worker.pid, signal.SIGKILL)
    worker.join()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_worker_costs_one_line_and_no_image(folder, capsys):
    undisturbed = epoch_of(make(folder), 1)
    loader = make(folder, num_workers=2)
    loader.sampler.set_epoch(1)
    batches = []
    for batch in loader:
        batches.append(batch)
        if len(batches) == 2:
            kill_a_worker(loader)
    assert same(batches, undisturbed)
    said = capsys.readouterr().err
    assert said == (
        "cifar100: a worker process died, perhaps because memory ran out; new workers read the images from here on. "
        "No image is lost.\n"
    )
    assert same(epoch_of(loader, 1), undisturbed)
    loader.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_workers_that_die_again_and_again_are_not_started_again(folder, capsys):
    loader = make(folder, num_workers=2)
    loader.sampler.set_epoch(1)
    batches = []
    for batch in loader:
        batches.append(batch)
        if loader._num_workers:
            kill_a_worker(loader)
    assert same(batches, epoch_of(make(folder), 1))
    said = capsys.readouterr().err.splitlines()
    assert ["without workers, which is slower" in line for line in said] == [False, False, True]


def test_the_end_of_the_thread_that_pins_memory_costs_one_line_and_no_image(folder, capsys, monkeypatch):
    """It reads from the workers if there is a GPU, and a worker that is killed while it sends a batch ends it."""
    expected = epoch_of(make(folder))
    loader, attempts = make(folder), []
    started = loader._started

    def broken_once():
        attempts.append(loader.sampler.first_step)
        if len(attempts) == 1:
            yield from islice(started(), 2)
            raise RuntimeError("Pin memory thread exited unexpectedly")
        yield from started()

    monkeypatch.setattr(loader, "_started", broken_once)
    found = epoch_of(loader)
    assert attempts == [0, 2]
    assert len(found) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)
    assert "a worker process died" in capsys.readouterr().err


def test_full_shared_memory_costs_one_line_and_no_image(folder, capsys):
    undisturbed = epoch_of(make(folder), 1)
    loader = make(folder, num_workers=1)
    loader._dataset = Full(loader._dataset.dataset)
    assert same(epoch_of(loader, 1), undisturbed)
    said = capsys.readouterr().err
    assert said.startswith("cifar100: the shared memory of the workers is full, ")
    assert said.count("\n") == 1


def test_a_mistake_or_a_bug_in_a_worker_is_no_dead_worker(folder):
    with pytest.raises(RuntimeError, match="a bug"):
        epoch_of(make(folder, num_workers=1, kind=Buggy))
