import pytest
import torch
import torch.nn.functional as F

from cifar100.models.fast_net import BLOCKS, FastNet, Stage, _convolution, whitening_filters
from cifar100.models.summary import mult_adds


def correlated_images(number: int = 1200, side: int = 12) -> torch.Tensor:
    """Smooth in space, correlated between channels, and with means other than 0."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(number, 3, side, side, generator=generator)
    mixed = torch.einsum("cd,ndhw->nchw", torch.tensor([[1.0, 0.5, 0.2], [0.3, 0.8, 0.1], [0.2, 0.4, 0.6]]), noise)
    return F.avg_pool2d(mixed, 3, stride=1) * 3 + torch.tensor([0.5, -0.2, 0.1]).view(3, 1, 1)


def patches(images: torch.Tensor) -> torch.Tensor:
    """All 2x2 patches, (N, 12), cut out one by one."""
    _, _, height, width = images.shape
    cut = [images[:, :, y : y + 2, x : x + 2].flatten(1) for y in range(height - 1) for x in range(width - 1)]
    return torch.cat(cut).double()


def test_whitened_patches_are_uncorrelated_with_unit_variance() -> None:
    images = correlated_images()
    filters = whitening_filters(images, epsilon=0.0)
    outputs = F.conv2d(images, filters[:12]).transpose(0, 1).flatten(1)  # (12, patches)
    torch.testing.assert_close(torch.cov(outputs), torch.eye(12), rtol=0, atol=2e-3)


def test_filters_are_the_scaled_eigenvectors_of_the_patch_covariance() -> None:
    images, epsilon = correlated_images(), 0.05
    covariance = torch.cov(patches(images).T, correction=0)
    filters = whitening_filters(images, epsilon=epsilon)[:12].flatten(1).double()
    variances = torch.linalg.eigvalsh(covariance).flip(0)
    # f = v / sqrt(variance + epsilon) is an eigenvector, so that C f = variance f
    torch.testing.assert_close(filters @ covariance, variances[:, None] * filters, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(filters.square().sum(1), 1 / (variances + epsilon), rtol=1e-4, atol=0)


def test_the_second_half_of_the_filters_is_the_first_negated() -> None:
    filters = whitening_filters(correlated_images())
    assert filters.shape == (24, 3, 2, 2)
    assert torch.equal(filters[12:], -filters[:12])


def test_images_without_any_variation_give_finite_filters() -> None:
    assert whitening_filters(torch.zeros(3, 3, 16, 16)).isfinite().all()


def test_init_from_images_sets_the_filters_and_nothing_else() -> None:
    model = FastNet((8, 8, 8), num_classes=10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_from_images(correlated_images())
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"whitening.weight"}
    assert torch.equal(model.whitening.weight, whitening_filters(correlated_images()))


def test_frozen_are_the_filters_and_the_scales_of_batch_norm_but_no_bias() -> None:
    model = FastNet((8, 8, 8), num_classes=10)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    scales = {f"stage{stage}.bn{norm}.weight" for stage in (1, 2, 3) for norm in (1, 2)}
    assert frozen == {"whitening.weight", *scales}


def test_narrow_blocks_learn_the_scales_of_batch_norm_and_average_its_statistics_for_longer() -> None:
    model = FastNet((8, 12, 12), num_classes=10, blocks="narrow")
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == {"whitening.weight"}
    assert {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}


def convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The result has the size of `x`: one row and column more are added after it than before if the kernel is even."""
    before, after = (weight.shape[2] - 1) // 2, weight.shape[2] // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight)


@pytest.mark.parametrize("blocks", ["residual", "narrow"])
@pytest.mark.parametrize("number", range(3))
def test_a_residual_connection_leads_around_the_last_two_convolutions(blocks: str, number: int) -> None:
    stage = Stage(4, 12, BLOCKS[blocks], number=number).eval()
    for batch_norm in (stage.bn1, stage.bn2, stage.bn3):
        torch.nn.init.normal_(batch_norm.bias)
    x = torch.randn(2, 4, 7, 8)
    first = F.silu(stage.bn1(F.max_pool2d(convolved(x, stage.conv1.weight), 2)))
    second = F.silu(stage.bn2(stage.conv2(first)))
    branch = stage.bn3(stage.conv3(second))
    expected = F.silu(first + branch) if blocks == "residual" else first + F.silu(branch)
    assert expected.shape == (2, 12, 3, 4)
    torch.testing.assert_close(stage(x), expected)


def test_only_residual_blocks_have_a_third_convolution() -> None:
    plain, residual = (
        set(FastNet((8, 8, 8), num_classes=10, blocks=name).state_dict()) for name in ("plain", "residual")
    )
    assert plain < residual
    assert {name.split(".")[1] for name in residual - plain} == {"conv3", "bn3"}


def test_narrow_blocks_have_the_published_size() -> None:
    """174.98 M multiply-adds and 8.6 M parameters for widths 64, 256, 768 at 32 x 32 pixels."""
    network = FastNet((64, 256, 768), num_classes=100, blocks="narrow")
    assert mult_adds(network) / 1e6 == pytest.approx(174.98, abs=0.01)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(8.6, abs=0.05)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(4, 6), (6, 4), (5, 5)])
def test_convolutions_begin_by_copying_their_input(in_channels: int, out_channels: int, kernel_size: int) -> None:
    x = torch.randn(2, in_channels, 8, 8)
    common = min(in_channels, out_channels)
    copied = convolved(x, _convolution(in_channels, out_channels, kernel_size).weight)
    torch.testing.assert_close(copied[:, :common], x[:, :common])
    if out_channels > in_channels:
        assert not torch.equal(copied[:, in_channels:], torch.zeros_like(copied[:, in_channels:]))
