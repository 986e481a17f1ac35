import pytest
import torch

from cifar100.data.augmentation.mixing import MixDraws, draw_cutmix, draw_mixup, mix_images, mix_labels

N = 50
GENERATOR_SEED = 5


@pytest.fixture
def images():
    return torch.randn(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def generator():
    return torch.Generator().manual_seed(GENERATOR_SEED)


def test_mixup_blends_each_image_with_its_partner(images):
    draws = draw_mixup(N, alpha=0.8, generator=generator())
    mixed = mix_images(images, draws)
    for index, (partner, weight) in enumerate(zip(draws.partners.tolist(), draws.weights.tolist(), strict=True)):
        torch.testing.assert_close(mixed[index], weight * images[index] + (1 - weight) * images[partner])


def test_cutmix_pastes_a_box_of_the_partner(images):
    draws = draw_cutmix(N, alpha=1.0, side=32, generator=generator())
    mixed = mix_images(images, draws)
    for index, (top, left, height, width) in enumerate(draws.boxes.tolist()):
        expected = images[index].clone()
        place = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[place] = images[draws.partners[index]][place]
        assert torch.equal(mixed[index], expected)
        assert draws.weights[index] == pytest.approx(1 - height * width / 1024)


def test_labels_have_the_shares_of_the_pixels():
    draws = MixDraws(partners=torch.tensor([1, 0, 2]), weights=torch.tensor([0.75, 0.5, 0.3]))
    mixed = mix_labels(torch.tensor([3, 1, 2]), draws, num_classes=4)
    expected = torch.tensor([[0, 0.25, 0, 0.75], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_are_beta_distributed(alpha):
    weights = draw_mixup(20_000, alpha=alpha, generator=generator()).weights.double()
    assert weights.mean() == pytest.approx(0.5, abs=0.01)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_boxes_stay_inside_and_have_the_drawn_area_unless_cut_off():
    draws = draw_cutmix(20_000, alpha=1.0, side=32, generator=generator())
    top, left, height, width = draws.boxes.unbind(1)
    assert min(draws.boxes.min(), top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    inside = (top > 0) & (left > 0) & (top + height < 32) & (left + width < 32)
    assert torch.equal(height[inside], width[inside])


@pytest.mark.parametrize("settings", [(draw_mixup, {}), (draw_cutmix, {"side": 32})], ids=["mixup", "cutmix"])
def test_draws_follow_the_generator(settings):
    function, arguments = settings

    def draw(generator):
        return function(N, alpha=1.0, generator=generator, **arguments)

    first, second = draw(generator()), draw(generator())
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.partners, second.partners)
    assert sorted(first.partners.tolist()) == list(range(N))
    assert not torch.equal(first.weights, draw(torch.Generator().manual_seed(6)).weights)
