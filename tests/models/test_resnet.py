"""Our ResNets against torchvision's: layer table, state-dict names, weights and logits."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.models.summary import model_table

# Of each stage of the mission's ResNet-18 at 32x32: output shape, then what the rows of its two blocks add to it.
# A block is convolution, batch norm, ReLU, convolution, batch norm, [projection of the shortcut], ReLU.
STAGES = [
    ("64, 8, 8", [[36_864, 128, None, 36_864, 128, None], [36_864, 128, None, 36_864, 128, None]]),
    ("128, 4, 4", [[73_728, 256, None, 147_456, 256, 8_448, None], [147_456, 256, None, 147_456, 256, None]]),
    ("256, 2, 2", [[294_912, 512, None, 589_824, 512, 33_280, None], [589_824, 512, None, 589_824, 512, None]]),
    (
        "512, 1, 1",
        [[1_179_648, 1_024, None, 2_359_296, 1_024, 132_096, None], [2_359_296, 1_024, None, 2_359_296, 1_024, None]],
    ),
]
Row = tuple[int, str, str, str]


def expected_rows() -> Iterator[Row]:
    """(depth, layer, output shape, parameters) of every row of the mission's table."""
    yield 0, "ResNet", "[1, 100]", "--"
    yield 1, "Conv2d", "[1, 64, 16, 16]", "9,408"
    yield 1, "BatchNorm2d", "[1, 64, 16, 16]", "128"
    yield 1, "ReLU", "[1, 64, 16, 16]", "--"
    yield 1, "MaxPool2d", "[1, 64, 8, 8]", "--"
    for shape, blocks in STAGES:
        yield 1, "Sequential", f"[1, {shape}]", "--"
        for block in blocks:
            yield 2, "BasicBlock", f"[1, {shape}]", "--"
            layers = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU"]
            if len(block) == 7:
                layers.insert(5, "Sequential")
            for layer, parameters in zip(layers, block, strict=True):
                shown = "--" if parameters is None else f"{parameters:,}"
                yield 3, layer, f"[1, {shape}]", shown
    yield 1, "AdaptiveAvgPool2d", "[1, 512, 1, 1]", "--"
    yield 1, "Linear", "[1, 100]", "51,300"


def parse(table: str) -> tuple[list[Row], dict[str, str]]:
    """The rows of a torchinfo table and the figures below it."""
    _, _, body, totals, sizes, _ = table.split("=" * 90)
    rows = []
    for line in body.strip("\n").splitlines():
        name, rest = line.split(None, 1) if "─" not in line else line.split("─", 1)[1].split(None, 1)
        depth = 0 if "─" not in line else (line.index("─") - 1) // 5 + 1
        rest = rest.split(None, 1)[1] if ":" in name else rest
        shape, parameters = rest.split("]")
        rows.append((depth, name.rstrip(":"), f"{shape.strip()}]", parameters.strip()))
    figures = dict(line.split(": ") for line in (totals + sizes).strip().splitlines() if line)
    return rows, figures


def expected_state(blocks: list[int], *, bottleneck: bool, stem: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes as torchvision has them, written down from the paper's table, in torchvision's order."""
    state: dict[str, tuple[int, ...]] = {}

    def add(convolution: str, norm: str, out_channels: int, in_channels: int, kernel: int) -> None:
        state[f"{convolution}.weight"] = (out_channels, in_channels, kernel, kernel)
        for entry in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{entry}"] = (out_channels,)
        state[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 64, 3, 7 if stem == "imagenet" else 3)
    channels = 64
    for stage, (number, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        out_channels = 4 * width if bottleneck else width
        widths_and_kernels = [(width, 1), (width, 3), (out_channels, 1)] if bottleneck else [(width, 3), (width, 3)]
        for index in range(number):
            block, inside = f"layer{stage}.{index}", channels
            for position, (out, kernel) in enumerate(widths_and_kernels, start=1):
                add(f"{block}.conv{position}", f"{block}.bn{position}", out, inside, kernel)
                inside = out
            if index == 0 and (stage > 1 or bottleneck):
                add(f"{block}.downsample.0", f"{block}.downsample.1", out_channels, channels, 1)
            channels = out_channels
    state["fc.weight"], state["fc.bias"] = (100, channels), (100,)
    return state


def test_the_missions_layer_table() -> None:
    rows, figures = parse(model_table(build_model(ModelConfig(name="resnet18", stem="imagenet"), 100)))
    assert rows == list(expected_rows())
    assert figures == {
        "Total params": "11,227,812",
        "Trainable params": "11,227,812",
        "Non-trainable params": "0",
        "Total mult-adds (Units.MEGABYTES)": "37.07",
        "Input size (MB)": "0.01",
        "Forward/backward pass size (MB)": "0.81",
        "Params size (MB)": "44.91",
        "Estimated Total Size (MB)": "45.74",
    }


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize(
    ("name", "blocks"), [("resnet18", [2, 2, 2, 2]), ("resnet34", [3, 4, 6, 3]), ("resnet50", [3, 4, 6, 3])]
)
def test_state_dict_has_torchvisions_names_shapes_and_order(name: str, blocks: list[int], stem: str) -> None:
    state = build_model(ModelConfig(name=name, stem=stem), 100).state_dict()
    expected = expected_state(blocks, bottleneck=name == "resnet50", stem=stem)
    assert [(key, tuple(value.shape)) for key, value in state.items()] == list(expected.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_torchvisions_weights_load_and_give_its_logits(name: str) -> None:
    theirs_module = pytest.importorskip("torchvision.models", reason="torchvision is no dependency")
    torch.manual_seed(0)
    theirs = getattr(theirs_module, name)(num_classes=100)
    torch.manual_seed(0)
    ours = build_model(ModelConfig(name=name, stem="imagenet"), 100)
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in theirs.state_dict().items())
    images = torch.randn(4, 3, 40, 40)
    assert torch.equal(ours(images), theirs(images))
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_initialisation_is_kaiming_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(name="resnet50", stem="cifar"), 100)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03), name
            # Normal, not uniform: a uniform distribution has nothing beyond 1.74 standard deviations.
            assert (module.weight.abs() > 2.5 * module.weight.std()).any(), name


def test_cifar_stem_keeps_the_resolution() -> None:
    model = build_model(ModelConfig(name="resnet18", stem="cifar"), 100)
    assert isinstance(model.maxpool, nn.Identity)
    images = torch.randn(1, 3, 32, 32)
    assert model.maxpool(model.relu(model.bn1(model.conv1(images)))).shape == (1, 64, 32, 32)
