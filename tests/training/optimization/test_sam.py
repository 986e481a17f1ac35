"""SAM and F-SAM against steps written by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cifar100 import commands
from cifar100.errors import UserError
from cifar100.runs.checkpoints import read_checkpoint
from cifar100.settings import load_config
from cifar100.training.optimization.sam import SharpnessAware


class Point(nn.Module):
    """Weights alone: the "logits" of an image x are the weights moved by -x."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(values))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight - images


CURVATURE = torch.tensor([1.0, 10.0])


def quadratic(logits: Tensor) -> Tensor:
    """Mean over the images x of (w - x)' A (w - x) / 2, with A = diag(1, 10); its gradient is A (w - mean x)."""
    return (CURVATURE * logits.square()).sum(1).mean() / 2


def gradient(weight: Tensor, images: Tensor) -> Tensor:
    return CURVATURE * (weight - images.mean(0))


def test_sam_takes_the_gradient_of_a_quadratic_where_the_loss_is_highest() -> None:
    point, images = Point(1.0, 0.5), torch.tensor([[0.25, 0.0], [0.75, 0.0]])
    loss, _, plain = SharpnessAware(point, rho=0.2, batch_size=128)(point, images, (), quadratic)
    loss.backward()
    start = torch.tensor([1.0, 0.5])
    direction = gradient(start, images)  # (0.5, 5)
    expected = gradient(start + 0.2 * direction / direction.norm(), images)
    torch.testing.assert_close(point.weight.grad, expected)
    torch.testing.assert_close(plain, quadratic(start - images))
    assert loss > plain
    assert torch.equal(point.weight, start)


def test_each_part_of_a_batch_is_perturbed_by_its_own_gradient() -> None:
    point = Point(1.0, 0.5)
    images = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 1.0], [0.5, 3.0], [1.0, 1.5]])
    loss, _, _ = SharpnessAware(point, rho=0.2, batch_size=3)(point, images, (), quadratic)
    loss.backward()
    start = torch.tensor([1.0, 0.5])
    expected = torch.zeros(2)
    for part, share in ((images[:3], 3 / 5), (images[3:], 2 / 5)):
        direction = gradient(start, part)
        expected += share * gradient(start + 0.2 * direction / direction.norm(), part)
    torch.testing.assert_close(point.weight.grad, expected)


def test_friendly_sam_leaves_the_average_gradient_out_of_the_direction() -> None:
    point = Point(1.0, 0.5)
    friendly = SharpnessAware(point, rho=0.2, batch_size=2, average_fraction=0.6)
    weight, average = torch.tensor([1.0, 0.5]), torch.zeros(2)
    for step in range(4):
        images = torch.randn(4, 2, generator=torch.Generator().manual_seed(step))
        expected = torch.zeros(2)
        for part in images.split(2):
            own = gradient(weight, part)
            direction = own - average
            average = 0.6 * average + 0.4 * own
            expected += gradient(weight + 0.2 * direction / direction.norm(), part) / 2
        point.zero_grad()
        friendly(point, images, (), quadratic)[0].backward()
        torch.testing.assert_close(point.weight.grad, expected)
        weight = weight - 0.05 * expected
        with torch.no_grad():
            point.weight.copy_(weight)


@pytest.mark.parametrize("average_fraction", [None, 0.6])
def test_a_parameter_that_the_network_does_not_use_changes_nothing(average_fraction: float | None) -> None:
    point, partly_used = Point(1.0, 0.5), Point(1.0, 0.5)
    partly_used.unused = nn.Parameter(torch.ones(3))
    images = torch.tensor([[0.25, 0.0], [0.75, 0.0]])
    for each in (point, partly_used):
        sam = SharpnessAware(each, rho=0.2, batch_size=2, average_fraction=average_fraction)
        for _ in range(2):
            each.zero_grad()
            sam(each, images, (), quadratic)[0].backward()
    assert torch.equal(partly_used.weight.grad, point.weight.grad)
    assert partly_used.unused.grad is None


def test_every_parameter_has_its_own_average_whatever_its_name() -> None:
    module = nn.Module()
    module.conv = nn.Sequential(nn.Linear(2, 1))
    module.conv_0 = nn.Linear(2, 1)  # conv.0.weight and conv_0.weight
    module.rho = nn.Parameter(torch.zeros(1))
    friendly = SharpnessAware(module, rho=0.2, batch_size=2, average_fraction=0.6)
    shapes = [tuple(friendly.get_buffer(name).shape) for name in friendly._average_names]
    assert len(list(friendly.buffers())) == len(set(friendly._average_names)) == 5
    assert shapes == [tuple(parameter.shape) for parameter in module.parameters()]
    assert friendly.rho == 0.2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def test_a_network_is_stepped_as_by_hand_and_its_statistics_are_of_the_first_pass() -> None:
    ours, by_hand = network(), network()
    ours[0].weight.requires_grad = by_hand[0].weight.requires_grad = False  # frozen ones do not move
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    _, logits, plain = SharpnessAware(ours, rho=0.5, batch_size=4)(ours, images, (labels,), F.cross_entropy)
    loss, logits, plain = SharpnessAware(ours, rho=0.5, batch_size=4)(ours, images, (labels,), F.cross_entropy)
    loss.backward()

    trained = [parameter for parameter in by_hand.parameters() if parameter.requires_grad]
    expected = [torch.zeros_like(parameter) for parameter in trained]
    losses = []
    for _ in range(2):
        losses.clear()
        for part in (slice(0, 4), slice(4, 6)):
            by_hand.zero_grad()
            here = F.cross_entropy(by_hand(images[part]), labels[part])
            here.backward()
            losses.append(here.item())
            moved = copy.deepcopy(by_hand)
            length = torch.cat([parameter.grad.flatten() for parameter in trained]).norm()
            moving = [parameter for parameter in moved.parameters() if parameter.requires_grad]
            for parameter, original in zip(moving, trained, strict=True):
                parameter.data += 0.5 * original.grad / length
                parameter.grad = None
            F.cross_entropy(moved(images[part]), labels[part]).backward()
            share = len(images[part]) / 6 / 2
            expected = [total + share * parameter.grad for total, parameter in zip(expected, moving, strict=True)]
    for parameter, value in zip((p for p in ours.parameters() if p.requires_grad), expected, strict=True):
        torch.testing.assert_close(parameter.grad, value)
    for name, buffer in by_hand.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
    assert ours[1].track_running_stats
    assert logits.shape == (6, 5)
    assert plain.item() == pytest.approx(losses[0] * 4 / 6 + losses[1] * 2 / 6)


def test_runs_with_sam_learn_and_keep_plain_networks(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "data.root": tiny_data,
        "data.batch_size": 16,
        "model.widths": [8, 8, 8],
        "training.max_epochs": 2,
        "training.accelerator": "cpu",
    }
    weights = {}
    for kind in ("none", "sam", "friendly"):
        parts = {} if kind == "none" else {"optimization.sam_batch_size": 10}
        run = commands.train(load_config("quickstart", overrides={**given, **parts, "optimization.sam": kind}))
        losses = [epoch["train/loss"] for epoch in json.loads(run.metrics.read_text())["epochs"]]
        assert losses[-1] < losses[0] - 0.05
        best = read_checkpoint(run.checkpoints / "best.ckpt")["state_dict"]
        assert all(name.startswith("network.") for name in best)
        weights[kind] = best["network.head.weight"]
        assert commands.evaluate(run.name, split="validation").epoch >= 1
    assert not torch.equal(weights["sam"], weights["none"])
    assert not torch.equal(weights["sam"], weights["friendly"])


def test_scaled_gradients_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"--optimization\.sam does not work with .* 16-mixed; use bf16-mixed or 32-true"
    ):
        load_config("quickstart", overrides={"optimization.sam": "sam", "training.precision": "16-mixed"})


@given(st.integers(1, 500), st.integers(2, 200))
def test_no_part_has_a_single_image(images: int, batch_size: int) -> None:
    network = SharpnessAware(nn.Linear(1, 1), rho=0.1, batch_size=batch_size)
    sizes = network._part_sizes(images)
    assert sum(sizes) == images
    assert min(sizes) >= 2 or images == 1
    assert all(size == batch_size for size in sizes[:-1])
    assert max(sizes) <= batch_size + 1
