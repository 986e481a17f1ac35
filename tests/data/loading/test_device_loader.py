from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.draws import draw
from cifar100.data.augmentation.mixing import draw_mix, mix_images, mix_labels
from cifar100.data.augmentation.operations import augment_batch, normalize, resize
from cifar100.data.loading.device_loader import DeviceLoader, resolution_at
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError
from cifar100.settings import load_config

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
IMAGES = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(50)  # the label tells the image
MISSION = AugmentationConfig(crop_padding=4, shift=0.0625, scale=0.1, rotate=45, cutout=16)


def make(*, training=True, augmentation=MISSION, channels_last=False, indices=None, **settings):
    indices = np.arange(50) if indices is None else indices
    sampler = EpochSampler(indices, training=training, **({"batch_size": 8, "seed": 1} | settings))
    return DeviceLoader(
        IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=augmentation, channels_last=channels_last
    )


def epoch_of(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_evaluation_batches_are_the_normalised_images_in_order():
    loader = make(training=False, augmentation=None, batch_size=20)
    images = torch.cat([images for images, _ in loader])
    expected = (IMAGES.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(images.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(torch.cat([labels for _, labels in loader]), LABELS)
    assert len(loader) == 3


def test_training_batches_are_the_drawn_augmentations_of_the_sampled_images():
    loader = make()
    batches = epoch_of(loader, 3)
    assert len(batches) == len(loader) == 6
    for step, ((images, labels), indices) in enumerate(zip(batches, loader.sampler.batches(), strict=True)):
        assert torch.equal(labels, torch.from_numpy(indices))
        draws = draw(MISSION, indices, sampler=loader.sampler, step=step)
        expected = normalize(augment_batch(IMAGES[indices], draws), torch.tensor(MEAN), torch.tensor(STD))
        assert torch.equal(images, expected)


def test_only_the_images_of_the_split_are_seen():
    indices = np.array([3, 1, 4, 15, 9, 26, 5, 35])
    labels = torch.cat([labels for _, labels in epoch_of(make(indices=indices, batch_size=4))])
    assert sorted(labels.tolist()) == sorted(indices)


def test_epochs_depend_on_seed_and_epoch_alone():
    loader = make()
    third = epoch_of(loader, 3)
    assert same(third, epoch_of(make(), 3))
    epoch_of(loader, 0)
    torch.manual_seed(5)
    assert same(third, epoch_of(loader, 3))
    assert not same(third, epoch_of(loader, 4))
    assert not same(third, epoch_of(make(seed=2), 3))


@pytest.mark.parametrize("step", [1, 5])
def test_resumed_epoch_equals_the_rest_of_the_undisturbed_one(step):
    loader = make()
    loader.sampler.set_epoch(2)
    list(islice(loader, step))
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert same(epoch_of(resumed, 2), epoch_of(make(), 2)[step:])


def test_two_processes_see_the_very_images_of_one_with_twice_the_batch():
    alone = epoch_of(make(batch_size=16), 1)
    shares = [epoch_of(make(rank=rank, world_size=2), 1) for rank in (0, 1)]
    for step, (images, labels) in enumerate(alone):
        joint = [torch.stack([share[step][part] for share in shares], dim=1).flatten(0, 1) for part in (0, 1)]
        assert torch.equal(joint[1], labels)
        assert torch.equal(joint[0], images)


def test_channels_last_changes_the_layout_only():
    batches = epoch_of(make(channels_last=True))
    assert same(batches, epoch_of(make()))
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)


def test_held_images_are_never_changed():
    before = IMAGES.clone()
    for images, labels in make():
        images.zero_()
        labels.zero_()
    assert torch.equal(IMAGES, before)
    assert torch.equal(LABELS, torch.arange(50))


@pytest.mark.gpu
def test_cuda_is_not_waited_for_within_an_epoch():
    sampler = EpochSampler(np.arange(50), batch_size=8, training=True)
    loader = DeviceLoader(IMAGES.cuda(), LABELS.cuda(), sampler, mean=MEAN, std=STD, augmentation=MISSION)
    batches = iter(loader)
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_resolutions_follow_the_progress_of_the_run():
    progress = [0.0]
    sampler = EpochSampler(np.arange(50), batch_size=8, training=True)
    loader = DeviceLoader(
        IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=AugmentationConfig(),
        side=lambda: resolution_at(progress[0], (16, 24, 32), (0.5, 0.75)),
    )  # fmt: skip
    sides = []
    for images, _ in loader:
        sides.append(images.shape[2:])
        progress[0] += 0.25
    assert sides == [(16, 16), (16, 16), (24, 24), (32, 32), (32, 32), (32, 32)]
    full = epoch_of(make(augmentation=AugmentationConfig(), seed=0))
    assert torch.equal(epoch_of(loader)[0][0], full[0][0])


def test_resized_batches_are_the_resized_whole_ones():
    sampler = EpochSampler(np.arange(50), batch_size=8, training=True, seed=1)
    small = DeviceLoader(IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=MISSION, side=lambda: 20)
    for (images, labels), (whole, same_labels) in zip(epoch_of(small), epoch_of(make()), strict=True):
        assert torch.equal(labels, same_labels)
        torch.testing.assert_close(images, resize(whole, 20))


def test_mixed_batches_are_the_drawn_mixtures_and_the_others_are_left_alone():
    mixing = AugmentationConfig(mixup_probability=0.4, cutmix_probability=0.4)
    plain = AugmentationConfig()
    loader = make(augmentation=mixing, batch_size=4)
    seen = set()
    for epoch in range(2):
        pairs = zip(epoch_of(loader, epoch), epoch_of(make(augmentation=plain, batch_size=4), epoch), strict=True)
        for step, ((images, labels), (custom_images, own_labels)) in enumerate(pairs):
            mix = draw_mix(mixing, 4, side=32, sampler=loader.sampler, step=step)
            if mix is None:
                expected = custom_images, own_labels
            else:
                expected = mix_images(custom_images, mix), mix_labels(own_labels, mix, num_classes=100)
            assert same([(images, labels)], [expected])
            seen.add("none" if mix is None else "cutmix" if mix.boxes is not None else "mixup")
    assert seen == {"none", "cutmix", "mixup"}


def test_erased_rectangles_hold_the_noise():
    erasing = AugmentationConfig(flip="none", crop_padding=0, random_erasing_probability=1.0)
    loader = make(augmentation=erasing)
    images, labels = epoch_of(loader)[0]
    draws = draw(erasing, loader.sampler.batches()[0], sampler=loader.sampler, step=0)
    noise = normalize(draws.noise[None], torch.tensor(MEAN), torch.tensor(STD))[0]
    original = normalize(IMAGES[labels], torch.tensor(MEAN), torch.tensor(STD))
    for image, whole, (top, left, height, width) in zip(images, original, draws.erased.tolist(), strict=True):
        expected = whole.clone()
        expected[:, top : top + height, left : left + width] = noise[:, top : top + height, left : left + width]
        assert torch.equal(image, expected)


def test_holes_can_be_kept_out_of_mixed_batches():
    settings = AugmentationConfig(flip="none", crop_padding=0, cutout=8, cutout_probability=1, cutmix_probability=0.5)
    everywhere = epoch_of(make(augmentation=settings, batch_size=4))
    kept_out = epoch_of(make(augmentation=replace(settings, cutout_mixed=False), batch_size=4))
    mixed = [labels.ndim == 2 for _, labels in everywhere]
    assert True in mixed
    assert False in mixed
    black = ((torch.zeros(3) - torch.tensor(MEAN)) / torch.tensor(STD)).view(3, 1, 1)
    for was_mixed, (images, _), (without, _) in zip(mixed, everywhere, kept_out, strict=True):
        assert torch.equal(images, without) == (not was_mixed)
        holes = (without - black).abs().lt(1e-5).all(dim=1).sum((1, 2))
        assert bool((holes >= 64).all()) == (not was_mixed)


def test_holes_without_mixing_need_no_exception():
    with pytest.raises(UserError, match="cutout_mixed false needs"):
        load_config("baseline", overrides={"augmentation.cutout_mixed": False})
