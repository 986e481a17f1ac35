import numpy as np
import pytest
import torch

from cifar100.config import AugmentationConfig
from cifar100.data.augmentation.draws import alternating_flip, draw
from cifar100.data.sampler import EpochSampler

MISSION = AugmentationConfig(crop_padding=4, shift=0.0625, scale=0.1, rotate=45, cutout=16)
BATCH = np.arange(4000)


def sampler(*, epoch=0, **settings):
    made = EpochSampler(BATCH, batch_size=10, training=True, **settings)
    made.set_epoch(epoch)
    return made


def tensors(draws):
    affine = draws.affine
    return [draws.crop, draws.flip, draws.hole, affine.images, affine.shift_pixels, affine.scale, affine.rotate_degrees]


def same(first, second):
    return all(torch.equal(*pair) for pair in zip(tensors(first), tensors(second), strict=True))


def test_draws_depend_on_seed_epoch_and_step_alone():
    torch.manual_seed(0)
    first = draw(MISSION, BATCH, sampler=sampler(seed=1, epoch=2), step=3)
    torch.manual_seed(1)
    assert same(first, draw(MISSION, BATCH, sampler=sampler(seed=1, epoch=2), step=3))
    for other, step in ((sampler(seed=2, epoch=2), 3), (sampler(seed=1, epoch=3), 3), (sampler(seed=1, epoch=2), 2)):
        drawn = draw(MISSION, BATCH, sampler=other, step=step)
        assert not any(torch.equal(*pair) for pair in zip(tensors(first), tensors(drawn), strict=True))


def test_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(MISSION, BATCH, sampler=sampler(), step=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_drawn_where_everything_is_off():
    off = AugmentationConfig(flip="none", crop_padding=0)
    draws = draw(off, BATCH, sampler=sampler(), step=0)
    assert (draws.crop, draws.flip, draws.affine, draws.hole) == (None, None, None, None)


def uniform(values, low, high):
    """Whether values spread evenly over low .. high, by their range and their first two moments."""
    values = values.double()
    close = abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    spread = abs(values.std() - (high - low) / 12**0.5) < 0.03 * (high - low)
    return bool(close and spread and values.min() >= low and values.max() <= high)


def test_draws_have_the_stated_distributions():
    draws = draw(MISSION, BATCH, sampler=sampler(), step=0)
    assert draws.flip.double().mean() == pytest.approx(0.5, abs=0.03)
    assert sorted(draws.crop.unique().tolist()) == list(range(9))
    affine = draws.affine
    assert len(affine.images) / len(BATCH) == pytest.approx(0.5, abs=0.03)
    assert uniform(affine.shift_pixels[:, 0], -2, 2)
    assert uniform(affine.shift_pixels[:, 1], -2, 2)
    assert uniform(affine.scale, 0.9, 1.1)
    assert uniform(affine.rotate_degrees, -45, 45)
    holes = draws.hole[draws.hole[:, 0] < 32]
    assert len(holes) / len(BATCH) == pytest.approx(0.5, abs=0.03)
    assert sorted(holes.unique().tolist()) == list(range(17))


def test_draws_are_independent_of_each_other():
    draws = draw(MISSION, BATCH, sampler=sampler(), step=0)
    warped = torch.zeros(len(BATCH), dtype=torch.bool)
    warped[draws.affine.images] = True
    columns = [draws.flip, warped, draws.hole[:, 0] < 32, draws.crop[:, 0], draws.crop[:, 1]]
    correlations = torch.corrcoef(torch.stack([column.double() for column in columns]))
    assert (correlations - torch.eye(5)).abs().max() < 0.06
    of_warped = torch.stack([*draws.affine.shift_pixels.unbind(1), draws.affine.scale, draws.affine.rotate_degrees])
    assert (torch.corrcoef(of_warped) - torch.eye(4)).abs().max() < 0.08


def test_probabilities_zero_and_one_are_exact():
    always = AugmentationConfig(rotate=45, affine_probability=1, cutout=16, cutout_probability=1)
    never = AugmentationConfig(rotate=45, affine_probability=0, cutout=16, cutout_probability=0)
    assert len(draw(always, BATCH, sampler=sampler(), step=0).affine.images) == len(BATCH)
    assert draw(always, BATCH, sampler=sampler(), step=0).hole.max() <= 16
    assert len(draw(never, BATCH, sampler=sampler(), step=0).affine.images) == 0
    assert draw(never, BATCH, sampler=sampler(), step=0).hole.min() == 32


def test_processes_share_out_what_one_process_would_draw():
    alone = draw(MISSION, BATCH[:20], sampler=sampler(), step=5)
    shares = [draw(MISSION, BATCH[r:20:2], sampler=sampler(rank=r, world_size=2), step=5) for r in (0, 1)]
    for name in ("crop", "flip", "hole"):
        joint = torch.stack([getattr(share, name) for share in shares], dim=1).flatten(0, 1)
        assert torch.equal(joint, getattr(alone, name))
    joint = {2 * i + r: a.item() for r in (0, 1) for i, a in affine_by_image(shares[r])}
    assert joint == {i: a.item() for i, a in affine_by_image(alone)}


def affine_by_image(draws):
    return zip(draws.affine.images.tolist(), draws.affine.rotate_degrees, strict=True)


def test_alternating_flip_shows_both_sides_in_two_epochs():
    epochs = [alternating_flip(BATCH, seed=1, epoch=epoch) for epoch in range(4)]
    assert epochs[0].double().mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(epochs[1], ~epochs[0])
    assert torch.equal(epochs[2], epochs[0])
    assert torch.equal(epochs[3], epochs[1])


def test_alternating_flip_is_a_hash_of_seed_and_image():
    chosen = alternating_flip(BATCH, seed=1, epoch=0)
    shuffled = np.random.default_rng(0).permutation(BATCH)
    assert torch.equal(alternating_flip(shuffled, seed=1, epoch=0), chosen[shuffled])
    other = alternating_flip(BATCH, seed=2, epoch=0)
    assert (chosen == other).double().mean() == pytest.approx(0.5, abs=0.03)
    assert (chosen[1:] == chosen[:-1]).double().mean() == pytest.approx(0.5, abs=0.03)


def test_alternating_flip_is_drawn_for_the_images_of_the_batch():
    settings = AugmentationConfig(flip="alternating", crop_padding=0)
    draws = draw(settings, BATCH[100:200], sampler=sampler(seed=3, epoch=1), step=0)
    assert torch.equal(draws.flip, alternating_flip(BATCH[100:200], seed=3, epoch=1))


def test_erasing_boxes_lie_inside_and_have_the_stated_areas():
    draws = draw(AugmentationConfig(random_erasing_probability=0.5), BATCH, sampler=sampler(), step=0)
    boxes = draws.erased
    assert draws.noise.shape == (3, 32, 32)
    assert draws.noise.dtype == torch.uint8
    drawn = boxes[boxes[:, 2] > 0].double()
    assert len(drawn) / 4000 == pytest.approx(0.5, abs=0.03)
    top, left, height, width = drawn.unbind(1)
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    share = height * width / 32**2
    assert 0.01 < share.min() < 0.03
    assert 0.31 < share.max() < 0.36
