"""Random streams, the choice of a mixing, and what holds for every augmentation."""

from __future__ import annotations

import pytest
import torch
from augmentation_variants import random_for, same_parameters, tensors, variant_name, variants

from cifar100.data.augmentation.base import Augmentation, BatchRandom, Mixing, choose_mixing, mix_labels
from cifar100.data.augmentation.cutmix import CutMix
from cifar100.data.augmentation.mixup import Mixup

N = 24
VARIANTS = variants()
AUGMENTATIONS = [one for one in VARIANTS if isinstance(one, Augmentation)]
MIXINGS = [one for one in VARIANTS if isinstance(one, Mixing)]


@pytest.mark.parametrize("variant", VARIANTS, ids=variant_name)
def test_parameters_depend_on_name_seed_epoch_and_step_alone(variant):
    def drawn(name=variant, **place):
        return variant.draw(random_for(name, 4000, **place))

    torch.manual_seed(0)
    first = drawn(seed=1, epoch=2, step=3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert same_parameters(first, drawn(seed=1, epoch=2, step=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert not same_parameters(first, drawn(seed=2, epoch=2, step=3))
    assert not same_parameters(first, drawn(seed=1, epoch=3, step=3))
    if getattr(variant, "flip", None) != "alternating":  # a function of (seed, epoch, image)
        assert not same_parameters(first, drawn(seed=1, epoch=2, step=2))
        assert not same_parameters(first, drawn("Another", seed=1, epoch=2, step=3))


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("variant", AUGMENTATIONS, ids=variant_name)
def test_ranks_together_see_what_one_process_sees(variant, ranks, images):
    alone = variant.apply(images, variant.draw(random_for(variant, N, step=5)))
    assert not torch.equal(alone, images)
    for rank in range(ranks):
        parameters = variant.draw(random_for(variant, N, step=5, rank=rank, ranks=ranks))
        assert torch.equal(variant.apply(images[rank::ranks], parameters), alone[rank::ranks])


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("mixing", MIXINGS, ids=variant_name)
def test_ranks_mix_by_the_weights_of_one_process_with_partners_of_their_own(mixing, ranks):
    alone = vars(mixing.draw(random_for(mixing, N, step=5)))
    for rank in range(ranks):
        part = vars(mixing.draw(random_for(mixing, N, step=5, rank=rank, ranks=ranks)))
        assert sorted(part.pop("partners").tolist()) == list(range(N // ranks))
        assert all(torch.equal(values, alone[name][rank::ranks]) for name, values in part.items())


@pytest.mark.parametrize("variant", AUGMENTATIONS, ids=variant_name)
def test_apply_returns_uint8_and_leaves_its_argument_alone(variant, images):
    before = images.clone()
    changed = variant.apply(images, variant.draw(random_for(variant, N)))
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)


@pytest.mark.parametrize("variant", VARIANTS, ids=variant_name)
def test_parameters_lie_on_the_cpu(variant):
    assert {tensor.device.type for tensor in tensors(variant.draw(random_for(variant, N)))} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.parametrize("variant", AUGMENTATIONS, ids=variant_name)
def test_cuda_gives_the_same_images_without_being_waited_for(variant, images):
    parameters = variant.draw(random_for(variant, N))
    expected, on_device = variant.apply(images, parameters), images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = variant.apply(on_device, parameters)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (result.cpu().int() - expected.int()).abs().max() <= 1  # sums of pixels are rounded in another order


def correlation(one, other):
    return torch.corrcoef(torch.stack([one.double(), other.double()]))[0, 1].abs()


def test_streams_of_two_names_are_independent():
    one, other = (random_for(name, 4000) for name in ("Crop", "Flip"))
    assert correlation(one.uniform(), other.uniform()) < 0.06
    assert correlation(one.uniform(), one.uniform()) < 0.06


def test_numbers_have_the_stated_distributions():
    random = random_for("Test", 20_000)
    assert random.uniform(2, 4).mean().item() == pytest.approx(3, abs=0.02)
    assert torch.bincount(random.integers(5).flatten()).tolist() == pytest.approx([8000] * 5, rel=0.05)
    for alpha in (0.2, 1.0, 4.0):
        values = random.beta(alpha).double()
        assert values.mean().item() == pytest.approx(0.5, abs=0.01)
        assert values.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    assert sorted(random.permutation().tolist()) == list(range(20_000))
    assert 0 <= random.number() < 1


def choice(mixings, **place):
    chosen = choose_mixing(mixings, lambda mixing: random_for(mixing, 24, **place))
    return chosen and chosen[0]


def test_mixings_are_chosen_by_their_probabilities():
    both = [Mixup(mixup_probability=0.2), CutMix(cutmix_probability=0.5)]
    chosen = [choice(both, step=step) for step in range(2000)]
    for mixing, probability in (*zip(both, (0.2, 0.5), strict=True), (None, 0.3)):
        assert chosen.count(mixing) / 2000 == pytest.approx(probability, abs=0.03)
    half = [Mixup(mixup_probability=0.7), CutMix(cutmix_probability=0.3)]
    assert None not in {choice(half, step=step) for step in range(2000)}


def test_another_mixing_takes_some_batches_and_leaves_the_choice_of_the_others():
    mixup, cutmix = Mixup(mixup_probability=0.2), CutMix(cutmix_probability=0.5)
    both = [choice([mixup, cutmix], step=step) for step in range(2000)]
    alone = [choice([cutmix], step=step) for step in range(2000)]
    kept = [one for one, other in zip(both, alone, strict=True) if other is cutmix]
    assert set(kept) == {mixup, cutmix}
    assert kept.count(mixup) / len(kept) == pytest.approx(0.2, abs=0.03)


def test_ranks_choose_the_same_mixing_in_every_step():
    both = [Mixup(mixup_probability=0.4), CutMix(cutmix_probability=0.4)]
    for step in range(100):
        chosen = {choice(both, step=step, rank=rank, ranks=3) for rank in range(3)}
        assert len(chosen) == 1


def test_labels_are_blended_by_the_weights():
    mixed = mix_labels(torch.tensor([3, 1, 2]), torch.tensor([1, 0, 2]), torch.tensor([0.75, 0.5, 0.3]), num_classes=4)
    expected = torch.tensor([[0, 0.25, 0, 0.75], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])
    torch.testing.assert_close(mixed, expected)


def test_an_augmentation_without_transforms_says_what_to_use():
    class Batches(Augmentation):
        enabled = True

        def draw(self, random: BatchRandom) -> None: ...

        def apply(self, images, parameters):
            return images

    assert Batches().applies_to_mixed
    with pytest.raises(NotImplementedError, match=r"Batches changes whole batches only: use --data\.pipeline packed"):
        Batches().transforms(side=32)
