import torch

from cifar100.models.shufflenet import ShuffleNetV2, ShuffleUnit


def test_shapes_are_those_of_the_paper_with_the_resolution_of_cifar() -> None:
    with torch.device("meta"):
        model = ShuffleNetV2(num_classes=100)
        x = torch.empty(1, 3, 32, 32)
        shapes = []
        for part in model:
            x = part(x)
            shapes.append(tuple(x.shape[1:]))
    widths_and_sides = [(24, 32), (116, 16), (232, 8), (464, 4), (1024, 4)]
    assert shapes == [*((width, side, side) for width, side in widths_and_sides), (100,)]


def test_a_unit_keeps_half_of_its_channels_and_interleaves_both_halves() -> None:
    x = torch.randn(2, 8, 5, 5)
    unit = ShuffleUnit(8, 8, 1).eval()
    out = unit(x)
    assert torch.equal(out[:, 0::2], x[:, :4])
    torch.testing.assert_close(out[:, 1::2], unit.convolving(x[:, 4:]))


def test_a_unit_with_stride_2_convolves_the_whole_input_twice() -> None:
    x = torch.randn(2, 6, 8, 8)
    unit = ShuffleUnit(6, 12, 2).eval()
    assert unit.reducing is not None
    out = unit(x)
    assert out.shape == (2, 12, 4, 4)
    torch.testing.assert_close(out[:, 0::2], unit.reducing(x))
    torch.testing.assert_close(out[:, 1::2], unit.convolving(x))
