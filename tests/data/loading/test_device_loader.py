from dataclasses import asdict
from itertools import combinations, islice

import numpy as np
import pytest
import torch
from augmentation_variants import OFF, same_parameters, switched_off, tensors, variant_name, variants

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.base import Augmentation, BatchRandom, choose_mixing
from cifar100.data.augmentation.cutmix import CutMix
from cifar100.data.augmentation.flip import Flip
from cifar100.data.augmentation.mixup import Mixup
from cifar100.data.augmentation.random_erasing import RandomErasing
from cifar100.data.augmentation.registry import build_augmentations, build_mixings, discover
from cifar100.data.image_batches import fit, normalize, resize
from cifar100.data.loading import device_loader
from cifar100.data.loading.device_loader import DeviceLoader, resolution_at
from cifar100.data.sampler import EpochSampler
from cifar100.errors import UserError
from cifar100.settings import load_config

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
IMAGES = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(50)  # the label is the index of the image
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


def random_of(augmentation, loader, step):
    return BatchRandom(type(augmentation).__name__, loader.sampler.batches()[step], sampler=loader.sampler, step=step)


EVERYTHING = {
    "crop_padding": 4, "flip": "random", "rotate": 45, "policy": "trivial_augment", "cutout": 16,
    "random_erasing_probability": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("settings", [MISSION, AugmentationConfig(**EVERYTHING)], ids=["mission", "everything"])
def test_training_batches_are_the_augmentations_of_the_sampled_images_in_order(settings):
    loader = make(augmentation=settings)
    batches = epoch_of(loader, 3)
    assert len(batches) == len(loader) == 6
    for step, ((images, labels), indices) in enumerate(zip(batches, loader.sampler.batches(), strict=True)):
        assert torch.equal(labels, torch.from_numpy(indices))
        expected = IMAGES[indices]
        for augmentation in build_augmentations(settings):
            expected = augmentation.apply(expected, augmentation.draw(random_of(augmentation, loader, step)))
        assert torch.equal(images, normalize(expected, torch.tensor(MEAN), torch.tensor(STD)))


SINGLE = [one for one in variants() if isinstance(one, Augmentation)]


@pytest.mark.parametrize("augmentation", [MISSION, *(switched_off(**asdict(one)) for one in SINGLE)])
@pytest.mark.parametrize("settings", [{}, {"rank": 1, "world_size": 2, "batch_size": 4}], ids=["alone", "rank 1 of 2"])
def test_batches_that_are_augmented_together_are_those_augmented_alone(augmentation, settings, monkeypatch):
    together = epoch_of(make(augmentation=augmentation, **settings), 3)
    monkeypatch.setattr(device_loader, "IMAGES_AT_ONCE", 20)  # two or five batches, the last ones fewer
    assert same(epoch_of(make(augmentation=augmentation, **settings), 3), together)
    monkeypatch.setattr(device_loader, "IMAGES_AT_ONCE", 1)
    assert same(epoch_of(make(augmentation=augmentation, **settings), 3), together)


def test_small_batches_are_augmented_together(monkeypatch):
    sizes = []
    apply = Flip.apply
    monkeypatch.setattr(Flip, "apply", lambda *arguments: sizes.append(len(arguments[1])) or apply(*arguments))
    monkeypatch.setattr(device_loader, "IMAGES_AT_ONCE", 20)
    epoch_of(make())
    assert sizes == [16, 16, 16]
    sizes.clear()
    epoch_of(make(augmentation=AugmentationConfig(random_erasing_probability=0.5)))  # its batches share the noise
    epoch_of(make(augmentation=AugmentationConfig(mixup_probability=0.5)))
    assert sizes == [8] * 12


@pytest.fixture
def recorded(monkeypatch):
    """The random parameters of every augmentation that a loader applies: (class name, epoch, step) -> parameters."""
    found, place = {}, {}
    init = BatchRandom.__init__

    def remember_step(self, name, images, *, sampler, step, side):
        init(self, name, images, sampler=sampler, step=step, side=side)
        place["now"] = (sampler.rank, sampler.epoch, step)

    def recording(kind, draw):
        def record(self, random):
            found[kind.__name__, *place["now"]] = parameters = draw(self, random)
            return parameters

        return record

    monkeypatch.setattr(device_loader, "IMAGES_AT_ONCE", 1)
    monkeypatch.setattr(BatchRandom, "__init__", remember_step)
    for kind in discover():
        monkeypatch.setattr(kind, "draw", recording(kind, kind.draw))
    return found


PAIRS = [pair for pair in combinations(variants(), 2) if type(pair[0]) is not type(pair[1])]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " with ".join(map(variant_name, pair)))
def test_switching_one_on_leaves_the_parameters_of_the_other_unchanged(pair, recorded):
    def parameters(*augmentations):
        recorded.clear()
        changes = {name: value for one in augmentations for name, value in asdict(one).items()}
        epoch_of(make(augmentation=switched_off(**changes), batch_size=2))
        return dict(recorded)

    together = parameters(*pair)
    for one in pair:
        alone = parameters(one)
        common = alone.keys() & together.keys()  # of two mixings a batch gets at most one
        assert len(common) == len(alone) or (len(common) > 3 and not isinstance(one, Augmentation))
        assert all(same_parameters(alone[key], together[key]) for key in common)
        assert any(len(tensor) for key in common for tensor in tensors(alone[key]))


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
    parts = [epoch_of(make(rank=rank, world_size=2), 1) for rank in (0, 1)]
    for step, (images, labels) in enumerate(alone):
        joint = [torch.stack([part[step][which] for part in parts], dim=1).flatten(0, 1) for which in (0, 1)]
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
        resolution=lambda: resolution_at(progress[0], (16, 24, 32), (0.5, 0.75)),
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
    small = DeviceLoader(IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=MISSION, resolution=lambda: 20)
    for (images, labels), (whole, same_labels) in zip(epoch_of(small), epoch_of(make()), strict=True):
        assert torch.equal(labels, same_labels)
        torch.testing.assert_close(images, resize(whole, 20))


def test_enlarged_batches_are_augmented_at_their_own_size_first():
    sampler = EpochSampler(np.arange(50), batch_size=8, training=True, seed=1)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    large = DeviceLoader(IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=MISSION, side=96)
    for (images, _), (whole, _) in zip(epoch_of(large), epoch_of(make()), strict=True):
        levels = (whole * std.view(3, 1, 1) + mean.view(3, 1, 1)) * 255
        expected = normalize(fit(levels.round(), 96, rounded=False), mean, std)
        torch.testing.assert_close(images, expected, atol=1e-5, rtol=1e-5)


def test_a_resolution_below_an_enlarged_side_is_made_of_the_stored_pixels():
    sampler = EpochSampler(np.arange(50), batch_size=8, training=True, seed=1)
    off = switched_off()
    loader = DeviceLoader(IMAGES, LABELS, sampler, mean=MEAN, std=STD, augmentation=off, side=96, resolution=lambda: 64)
    images, labels = epoch_of(loader)[0]
    torch.testing.assert_close(images, normalize(fit(IMAGES[labels], 64, rounded=False), loader.mean, loader.std))


def test_mixed_batches_are_the_chosen_mixtures_and_the_others_are_left_alone():
    mixing = AugmentationConfig(mixup_probability=0.4, cutmix_probability=0.4)
    loader = make(augmentation=mixing, batch_size=4)
    seen = set()
    for epoch in range(2):
        plain_batches = epoch_of(make(augmentation=AugmentationConfig(), batch_size=4), epoch)
        pairs = zip(epoch_of(loader, epoch), plain_batches, strict=True)
        for step, (batch, plain) in enumerate(pairs):
            chosen = choose_mixing(build_mixings(mixing), lambda one, step=step: random_of(one, loader, step))
            if chosen is not None:
                plain = chosen[0].apply(*plain, chosen[1], num_classes=100)
            assert same([batch], [plain])
            seen.add(type(chosen and chosen[0]))
    assert seen == {type(None), CutMix, Mixup}


def test_two_ranks_mix_in_the_same_steps_in_the_same_way(recorded):
    settings = AugmentationConfig(mixup_probability=0.4, cutmix_probability=0.4)
    for rank in (0, 1):
        for epoch in range(3):
            epoch_of(make(augmentation=settings, batch_size=4, rank=rank, world_size=2), epoch)
    chosen = [{(name, *place) for name, of, *place in recorded if of == rank} for rank in (0, 1)]
    assert chosen[0] == chosen[1]
    assert {name for name, *_ in chosen[0]} == {"Crop", "Flip", "Mixup", "CutMix"}


def test_two_ranks_see_the_pixels_of_one_before_they_mix():
    """The weights are those of the joint batch: a partner that is the image itself shows that all else is the same."""
    settings = AugmentationConfig(mixup_probability=1)
    alone = epoch_of(make(augmentation=settings, batch_size=16))
    parts = [epoch_of(make(augmentation=settings, rank=rank, world_size=2)) for rank in (0, 1)]
    for step, (_, labels) in enumerate(alone):
        joint = torch.stack([part[step][1] for part in parts], dim=1).flatten(0, 1)
        assert joint.shape == labels.shape
        own = torch.from_numpy(make(batch_size=16).sampler.batches()[step])
        rows = torch.arange(len(own))
        alike = (labels[rows, own] - joint[rows, own]).abs() < 1e-6
        assert alike.double().mean() > 0.7  # all but the few that are their own partner


def test_erased_rectangles_hold_the_noise():
    loader = make(augmentation=switched_off(random_erasing_probability=1.0))
    images, labels = epoch_of(loader)[0]
    erasing = RandomErasing(random_erasing_probability=1.0)
    parameters = erasing.draw(random_of(erasing, loader, 0))
    noise = normalize(parameters.noise[None], torch.tensor(MEAN), torch.tensor(STD))[0]
    original = normalize(IMAGES[labels], torch.tensor(MEAN), torch.tensor(STD))
    for image, whole, (top, left, height, width) in zip(images, original, parameters.boxes.tolist(), strict=True):
        expected = whole.clone()
        expected[:, top : top + height, left : left + width] = noise[:, top : top + height, left : left + width]
        assert torch.equal(image, expected)


@pytest.mark.parametrize(
    ("hole", "setting"),
    [
        ({"cutout": 8, "cutout_probability": 1}, "cutout_mixed"),
        ({"random_erasing_probability": 1}, "random_erasing_mixed"),
    ],
    ids=["cutout", "random erasing"],
)
def test_holes_can_be_kept_out_of_mixed_batches(hole, setting):
    def batches(**changes):
        return epoch_of(make(augmentation=AugmentationConfig(**(OFF | changes)), batch_size=4))

    everywhere = batches(cutmix_probability=0.5, **hole)
    kept_out = batches(cutmix_probability=0.5, **hole, **{setting: False})
    without = batches(cutmix_probability=0.5)
    mixed = [labels.ndim == 2 for _, labels in everywhere]
    assert set(mixed) == {True, False}
    for was_mixed, everywhere_batch, batch, whole in zip(mixed, everywhere, kept_out, without, strict=True):
        assert same([batch], [whole if was_mixed else everywhere_batch])
        assert not same([everywhere_batch], [whole])


@pytest.mark.parametrize("setting", ["cutout_mixed", "random_erasing_mixed"])
def test_holes_without_mixing_need_no_exception(setting):
    with pytest.raises(UserError, match=f"{setting} false has no effect: it needs"):
        load_config("baseline", overrides={f"augmentation.{setting}": False})
