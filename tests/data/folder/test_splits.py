from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar100.data.folder.splits import (
    Split,
    exclude,
    keep_in_one_fold,
    keep_together,
    load_split,
    save_split,
    split_off_last,
    stratified_folds,
    stratified_split,
)
from cifar100.errors import UserError

LABELS = np.repeat(np.arange(10), 50)


def test_the_fraction_of_every_class_is_held_out():
    split = stratified_split(LABELS, fraction=0.1, seed=0)
    assert np.bincount(LABELS[split.validation]).tolist() == [5] * 10
    assert np.bincount(LABELS[split.train]).tolist() == [45] * 10


@given(
    labels=st.lists(st.integers(0, 5), min_size=12, max_size=60).map(np.array),
    fraction=st.floats(0.3, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_are_disjoint_ascending_and_together_everything(labels, fraction, seed):
    split = stratified_split(labels, fraction=fraction, seed=seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(labels)))
    assert all(np.all(np.diff(part) > 0) for part in (split.train, split.validation))
    assert set(labels[split.train]) == set(labels)


def test_split_is_the_same_on_every_platform():
    split = stratified_split(LABELS, fraction=0.1, seed=0)
    assert split.validation[:5].tolist() == [2, 3, 11, 13, 20]


def test_another_seed_holds_out_other_images():
    splits = [stratified_split(LABELS, fraction=0.1, seed=seed) for seed in (0, 1)]
    assert not np.array_equal(splits[0].validation, splits[1].validation)


def test_fraction_zero_holds_out_nothing():
    split = stratified_split(LABELS, fraction=0, seed=0)
    assert len(split.train) == len(LABELS)
    assert split.validation.shape == (0,)
    assert split.validation.dtype == np.int64


def test_class_with_one_image_keeps_it_in_training():
    split = stratified_split(np.array([0, 0, 0, 0, 1]), fraction=0.6, seed=0)
    assert 4 in split.train
    assert len(split.validation) == 2


def test_fraction_that_holds_out_nothing_is_refused():
    with pytest.raises(UserError, match=r"validation_fraction 0\.1 of 10 training images holds out no image"):
        stratified_split(np.repeat(np.arange(5), 2), fraction=0.1, seed=0)


@pytest.mark.parametrize("fraction", [0, 0.1])
def test_saved_split_comes_back(tmp_path, fraction):
    split = stratified_split(LABELS, fraction=fraction, seed=3)
    save_split(split, tmp_path / "split.npz")
    loaded = load_split(tmp_path / "split.npz")
    np.testing.assert_array_equal(loaded.train, split.train)
    np.testing.assert_array_equal(loaded.validation, split.validation)


def test_missing_and_truncated_files_are_refused(tmp_path):
    path = tmp_path / "split.npz"
    with pytest.raises(UserError, match="cannot be read as a train/validation split"):
        load_split(path)
    save_split(stratified_split(LABELS, fraction=0.1, seed=0), path)
    content = path.read_bytes()
    for damaged in (b"", b"no split", content[: len(content) // 2], content[:60] + b"\xff" * 40 + content[100:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read as a train/validation split"):
            load_split(path)


def test_arrays_that_are_not_a_split_are_refused(tmp_path):
    path = tmp_path / "split.npz"
    doubled = Split(train=np.array([0, 1, 2]), validation=np.array([2]))
    gap = Split(train=np.array([0, 1]), validation=np.array([3]))
    nested = Split(train=np.array([[0, 1]]), validation=np.array([2]))
    for split in (doubled, gap, nested):
        save_split(split, path)
        with pytest.raises(UserError, match="holds duplicate, missing or fractional positions"):
            load_split(path)
    save_split(Split(train=np.array([0.0, 1.0]), validation=np.array([2.0])), path)
    with pytest.raises(UserError, match="an array of type float64, expected uint8 or int64"):
        load_split(path)


def test_pickled_arrays_are_not_opened(tmp_path):
    np.savez(tmp_path / "split.npz", train=np.array([print], dtype=object), validation=np.arange(0))
    with pytest.raises(UserError, match="cannot be read"):
        load_split(tmp_path / "split.npz")


def test_the_last_images_are_those_of_a_validation_csv() -> None:
    split = split_off_last(5, 2)
    assert (split.train.tolist(), split.validation.tolist()) == ([0, 1, 2], [3, 4])
    assert split.train.dtype == split.validation.dtype == np.int64


def test_folds_are_stratified_and_every_image_is_in_one() -> None:
    labels = np.repeat(np.arange(7), [10, 11, 12, 1, 2, 3, 40])
    folds = stratified_folds(labels, num_folds=4, seed=3)
    assert np.bincount(folds, minlength=4).tolist() == [20, 20, 20, 19]
    for label in range(7):
        counts = np.bincount(folds[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert (folds == stratified_folds(labels, num_folds=4, seed=3)).all()
    assert (folds != stratified_folds(labels, num_folds=4, seed=4)).any()
    with pytest.raises(UserError, match=r"num_folds is 80, but there are only 79 training images"):
        stratified_folds(labels, num_folds=80, seed=0)


def test_no_group_is_divided_and_as_many_images_of_each_class_are_held_out() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    groups = [group.tolist() for group in generator.permutation(1000)[:120].reshape(40, 3)]
    before = stratified_split(labels, fraction=0.2, seed=1)
    after = keep_together(before, groups, labels, seed=1)
    held_out = set(after.validation.tolist())
    assert all(len(held_out & set(group)) in (0, 3) for group in groups)
    assert any(len(held_out & set(group)) == 3 for group in groups)
    assert np.bincount(labels[after.validation]).tolist() == [20] * 10
    assert len(np.setxor1d(before.validation, after.validation)) < 120
    again = keep_together(before, groups, labels, seed=1)
    assert (again.validation == after.validation).all()


def test_without_groups_a_split_stays_as_it_is() -> None:
    labels = np.arange(100) % 10
    before = stratified_split(labels, fraction=0.2, seed=1)
    assert (keep_together(before, [], labels, seed=1).validation == before.validation).all()


def test_a_group_goes_to_the_side_of_most_of_it() -> None:
    labels = np.zeros(12, dtype=np.int64)
    before = Split(train=np.arange(8), validation=np.arange(8, 12))
    after = keep_together(before, [[0, 8, 9], [1, 10], [2, 3, 11]], labels, seed=0)
    assert {0, 8, 9} <= set(after.validation.tolist())
    assert {1, 10, 2, 3, 11} <= set(after.train.tolist())
    assert len(after.validation) == 4


def test_excluded_images_are_on_no_side_and_all_others_stay(tmp_path: Path) -> None:
    before = Split(train=np.arange(8), validation=np.arange(8, 12))
    after = exclude(before, np.array([9, 2]))
    assert [part.tolist() for part in (after.train, after.validation, after.excluded)] == [
        [0, 1, 3, 4, 5, 6, 7],
        [8, 10, 11],
        [2, 9],
    ]
    save_split(after, tmp_path / "split.npz")
    loaded = load_split(tmp_path / "split.npz")
    assert (loaded.excluded.tolist(), loaded.num_images) == ([2, 9], 12)
    with pytest.raises(UserError, match=r"--data.exclude leaves out all 8 training images"):
        exclude(before, np.arange(8))


def test_an_excluded_image_that_is_also_trained_on_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.npz"
    np.savez(path, train=np.arange(3), validation=np.arange(3, 5), excluded=np.array([2]))
    with pytest.raises(UserError, match=r"duplicate, missing or fractional positions"):
        load_split(path)


@pytest.mark.parametrize("seed", range(5))
def test_folds_divide_no_group_and_stay_a_partition_with_equal_classes(seed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    labels = generator.integers(0, 7, 400)
    folds = stratified_folds(labels, num_folds=5, seed=seed)
    order = generator.permutation(400)
    groups = [order[start : start + 3].tolist() for start in range(0, 90, 3)]
    grouped = keep_in_one_fold(folds, groups, labels, seed=seed)
    assert all(len({grouped[member] for member in group}) == 1 for group in groups)
    for label in range(7):
        before, after = (np.bincount(each[labels == label], minlength=5) for each in (folds, grouped))
        assert before.tolist() == after.tolist()
    alone = np.setdiff1d(np.arange(400), np.concatenate(groups))
    assert (folds[alone] == grouped[alone]).mean() > 0.7  # most images stay where they were
    assert keep_in_one_fold(folds, groups, labels, seed=seed).tolist() == grouped.tolist()
