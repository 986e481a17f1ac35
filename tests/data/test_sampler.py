"""The order of an epoch: each image once, the same for any number of ranks."""

import numpy as np
import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from cifar100.data.sampler import EpochSampler, place_generator
from cifar100.errors import UserError

IMAGES = np.arange(100, 203)  # 103 images, so that no batch size divides them


def make(**settings):
    return EpochSampler(IMAGES, **({"batch_size": 10, "training": True, "seed": 7} | settings))


def seen(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return np.concatenate(sampler.batches())


def test_training_sees_each_image_at_most_once_in_whole_batches():
    sampler = make()
    assert [len(batch) for batch in sampler.batches()] == [10] * 10
    assert len(sampler) == 10
    assert len(np.unique(seen(sampler))) == 100
    assert np.isin(seen(sampler), IMAGES).all()


def test_images_left_out_differ_from_epoch_to_epoch():
    left_out = [set(IMAGES) - set(seen(make(), epoch)) for epoch in range(20)]
    assert all(len(images) == 3 for images in left_out)
    assert len(set.union(*left_out)) > 20


def test_order_depends_on_seed_and_epoch_alone():
    assert np.array_equal(seen(make(), 3), seen(make(), 3))
    assert not np.array_equal(seen(make(), 3), seen(make(), 4))
    assert not np.array_equal(seen(make(), 3), seen(make(seed=8), 3))
    sampler = make()
    later = seen(sampler, 5)
    assert np.array_equal(seen(sampler, 3), seen(make(), 3))
    assert np.array_equal(seen(sampler, 5), later)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_training_batches_of_all_processes_are_those_of_one(world_size):
    ranks = [make(rank=rank, world_size=world_size, batch_size=5) for rank in range(world_size)]
    alone = make(batch_size=5 * world_size)
    assert {len(rank) for rank in ranks} == {len(alone)}
    for step, batch in enumerate(alone.batches()):
        joint = np.stack([rank.batches()[step] for rank in ranks], axis=1).ravel()
        assert np.array_equal(joint, batch)


def test_training_set_smaller_than_a_batch_is_one_batch():
    sampler = make(batch_size=500)
    assert len(sampler) == 1
    assert sorted(seen(sampler)) == IMAGES.tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 10, 51, 52, 103, 500])
def test_evaluation_sees_each_image_once_in_even_batches(world_size, batch_size):
    ranks = [make(training=False, rank=r, world_size=world_size, batch_size=batch_size) for r in range(world_size)]
    batches = [rank.batches() for rank in ranks]
    assert sorted(np.concatenate([np.concatenate(share) for share in batches])) == IMAGES.tolist()
    assert len({len(share) for share in batches} | {len(rank) for rank in ranks}) == 1
    for share in batches:
        sizes = [len(batch) for batch in share]
        assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
        assert max(sizes) <= max(batch_size, 2)


def test_evaluation_by_one_process_keeps_the_order():
    assert np.array_equal(seen(make(training=False)), IMAGES)


def test_keys_carry_the_epoch_and_start_at_the_first_step():
    sampler = make()
    sampler.set_epoch(4)
    sampler.first_step = 8
    keys = list(sampler)
    assert [index for batch in keys for _, index in batch] == np.concatenate(sampler.batches()[8:]).tolist()
    assert {epoch for batch in keys for epoch, _ in batch} == {4}


def test_more_processes_than_images_are_refused():
    with pytest.raises(UserError, match="103 images cannot be divided among 104 processes"):
        make(world_size=104)


def test_generators_of_places_are_reproducible_and_independent():
    places = [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1)]
    numbers = [place_generator(*place).random(2000) for place in places]
    assert np.array_equal(numbers[0], place_generator(0, 0).random(2000))
    assert np.abs(np.corrcoef(numbers) - np.eye(len(places))).max() < 0.1


UNEQUAL = np.repeat([3, 5, 9], [90, 11, 2])  # labels of IMAGES; other classes have none


def classes_in(drawn):
    return np.bincount(UNEQUAL[drawn - 100], minlength=10)[[3, 5, 9]]


def test_balanced_classes_are_drawn_equally_often():
    sampler = make(labels=UNEQUAL, batch_size=103)
    counts = np.array([classes_in(seen(sampler, epoch)) for epoch in range(9)])
    assert (counts.sum(axis=1) == 103).all()
    assert ((counts == 34) | (counts == 35)).all()  # 103 / 3
    assert (counts.sum(axis=0) == 309).all()


def test_images_of_a_class_are_drawn_equally_often_over_the_epochs():
    drawn = np.bincount(np.concatenate([seen(make(labels=UNEQUAL, batch_size=103), e) for e in range(7)]) - 100)
    for label in (3, 5, 9):
        times = drawn[label == UNEQUAL]
        assert times.max() - times.min() <= 1
    assert drawn[-1] > 100


def test_frequencies_are_those_of_weighted_random_draws():
    """torch's WeightedRandomSampler with weights 1 / n_c is the usual way; its frequencies vary around ours."""
    torch.manual_seed(0)
    weights = 1 / np.bincount(UNEQUAL)[UNEQUAL]
    usual = np.array(list(WeightedRandomSampler(weights.tolist(), 103 * 200)))
    ours = np.concatenate([seen(make(labels=UNEQUAL, batch_size=103), epoch) for epoch in range(200)])
    expected = np.full(3, 1 / 3)
    np.testing.assert_allclose(classes_in(ours) / len(ours), expected, atol=1e-4)
    np.testing.assert_allclose(classes_in(usual + 100) / len(usual), expected, atol=0.02)


def test_balanced_ranks_together_draw_what_one_process_draws():
    whole = make(labels=UNEQUAL, batch_size=20)
    parts = [make(labels=UNEQUAL, batch_size=10, rank=rank, world_size=2) for rank in (0, 1)]
    for epoch in (0, 4):
        for sampler in (whole, *parts):
            sampler.set_epoch(epoch)
        for batch, first, second in zip(list(whole), *map(list, parts), strict=True):
            assert sorted(batch) == sorted([*first, *second])


def test_a_balanced_epoch_has_a_place_for_each_draw_and_resumes_at_any_step():
    sampler = make(labels=UNEQUAL)
    sampler.set_epoch(2)
    keys = list(sampler)
    assert len({key for batch in keys for key in batch}) == 100
    assert [[index for _, index, _ in batch] for batch in keys] == [batch.tolist() for batch in sampler.batches()]
    assert [place for batch in keys for _, _, place in batch] == list(range(100))
    sampler.first_step = 4
    assert list(sampler) == keys[4:]


def test_balanced_orders_are_functions_of_seed_and_epoch():
    assert (seen(make(labels=UNEQUAL), 3) == seen(make(labels=UNEQUAL), 3)).all()
    assert (seen(make(labels=UNEQUAL), 3) != seen(make(labels=UNEQUAL), 4)).any()
    assert (seen(make(labels=UNEQUAL), 3) != seen(make(labels=UNEQUAL, seed=8), 3)).any()


def test_evaluation_is_not_balanced():
    assert (seen(make(labels=UNEQUAL, training=False)) == IMAGES).all()
