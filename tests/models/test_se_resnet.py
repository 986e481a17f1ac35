import torch

from cifar100.models.resnet import BasicBlock
from cifar100.models.se_resnet import SEBasicBlock, SqueezeExcitation


def test_channels_are_scaled_by_numbers_from_their_means() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcitation(32)
    x = torch.randn(3, 32, 5, 5)
    for image, scaled in zip(x, layer(x), strict=True):
        means = torch.stack([channel.mean() for channel in image])
        scales = torch.sigmoid(layer.expand.weight @ (layer.reduce.weight @ means).clamp(min=0))
        torch.testing.assert_close(scaled, torch.stack([s * c for s, c in zip(scales, image, strict=True)]))


def test_a_block_scales_its_residual_and_not_its_shortcut() -> None:
    torch.manual_seed(0)
    block, plain = SEBasicBlock(16, 16, 1), BasicBlock(16, 16, 1)
    plain.load_state_dict({key: value for key, value in block.state_dict().items() if "excitation" not in key})
    torch.nn.init.zeros_(block.excitation.expand.weight)  # every scale is 1/2
    x = torch.randn(2, 16, 6, 6)
    torch.testing.assert_close(block(x), torch.relu(plain.residual(x) / 2 + x))
