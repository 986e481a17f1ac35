"""Measure the training speed of every network, and the fraction of the machine's peak that it reaches.

    python benchmarks/training_throughput.py
    python benchmarks/training_throughput.py --yaml > src/cifar100/models/throughput.yaml   # for `cifar100 models`

A step is forward, backward and an optimizer step (SGD, fused on CUDA) on images float32 (N, 3, 32, 32) that are on the
device already, in the precision that `train` chooses for one process here or in that of `--precision`. Images per
second are the median of `--repeats` timings after one step to warm up. GFLOP/s count 6 operations for each
multiply-and-add of the forward pass of an image (2 forward, 4 backward). The peak is a large matrix product in the same
precision. The layouts `default` and `channels_last` and the product take turns; the fraction of the peak is the median
of the ratios in a round. A value near or above 100 % is possible if a library computes 3x3 convolutions with fewer
operations (Winograd).

On a CPU the batch is so small that a step takes about `SECONDS_PER_STEP`, so that large networks finish as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import median

from measure import (
    describe_hardware,
    describe_versions,
    interleaved,
    median_ratio,
    run_benchmark,
    show_table,
    this_device,
    today,
)

# isort: split
import torch
import yaml
from torch.nn import functional as F

from cifar100.config import Config, ModelConfig, OptimizationConfig
from cifar100.devices import choose_precision, wait_for
from cifar100.models import build_model, use_channels_last
from cifar100.models import networks as registered_networks
from cifar100.models.summary import mult_adds
from cifar100.settings import load_config, recipe_names
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.profiling.peak import MatrixProduct

SECONDS_PER_STEP = 1.0
SMALLEST_BATCH = 4
NUM_CLASSES = 100

HEAD_OF_YAML = """\
# Training images/s of the networks with their default settings: forward, backward and optimizer step, 32x32 pixels,
# channels_last. `cifar100 models` shows them. To measure all again, redirect to this file:
#
#   python benchmarks/training_throughput.py --yaml
"""

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    options = parse(arguments)
    device = this_device()
    bf16 = choose_precision(options.precision, device.type) == "bf16-mixed"
    product = MatrixProduct(device, torch.bfloat16 if bf16 else torch.float32, side=options.matrix_side)
    peak = product.flops_per_second()
    rows = []
    speeds: dict[str, float] = {}
    for name, config in networks().items():
        if options.networks and name not in options.networks:
            continue
        network = build_model(config, NUM_CLASSES)
        flops = 6 * mult_adds(network)
        batch_size = options.batch_size or choose_batch_size(flops, peak, device)
        repetitions = max(1, int(SECONDS_PER_STEP * peak / 4 / (flops * batch_size))) if device.type == "cuda" else 1
        steps = {
            layout: Steps(config, memory_format, device, batch_size=batch_size, bf16=bf16, count=repetitions)
            for layout, memory_format in LAYOUTS.items()
        }
        contestants: dict[str, Callable[[], object]] = {**steps, "product": product}
        interleaved(contestants, repeats=1)  # warms up
        seconds = interleaved(contestants, repeats=options.repeats)
        rows += rows_of(name, flops, batch_size, repetitions, seconds, product)
        speeds[name] = batch_size * repetitions / median(seconds["channels_last"])
    if options.yaml:
        print(throughput_yaml(speeds, bf16=bf16), end="")
    else:
        show(rows, product, bf16=bf16, repeats=options.repeats)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="NAME", help="default: all")
    parser.add_argument("--batch-size", type=int, help="default: 512 on a GPU, 64 or fewer on a CPU")
    parser.add_argument("--matrix-side", type=int, help="of the matrix product (default: 8192 on a GPU, 2048 on a CPU)")
    parser.add_argument("--repeats", type=int, default=3, help="timings of each layout (default: 3)")
    parser.add_argument(
        "--precision",
        choices=("auto", "32-true", "bf16-mixed"),
        default="auto",
        help="for bf16-mixed on a CPU, set OMP_NUM_THREADS=1 (default: auto, as `train`)",
    )
    parser.add_argument("--yaml", action="store_true", help="print models/throughput.yaml instead of the table")
    return parser.parse_args(arguments)


def networks() -> dict[str, ModelConfig]:
    """Return label to settings: every network, then those of the recipes that are none of them.

    Without networks of timm, whose images are larger.
    """
    known = {name: Config(model=ModelConfig(name=name)).model for name in registered_networks()}
    known["resnet18, imagenet stem"] = Config(model=ModelConfig(name="resnet18", stem="imagenet")).model
    for recipe in recipe_names():
        config = load_config(recipe).model
        if config.name in registered_networks() and config not in known.values():
            known[f"{config.name} of {recipe}"] = config
    return known


def choose_batch_size(flops: int, peak: float, device: torch.device) -> int:
    """Return the batch size for a network of `flops` operations an image, if half of the peak were reached."""
    if device.type != "cpu":
        return 512
    batch_size = 64
    while batch_size > SMALLEST_BATCH and flops * batch_size > SECONDS_PER_STEP * peak / 2:
        batch_size //= 2
    return batch_size


class Steps:
    """Some training steps of a network in a memory layout."""

    def __init__(
        self,
        config: ModelConfig,
        memory_format: torch.memory_format,
        device: torch.device,
        *,
        batch_size: int,
        bf16: bool,
        count: int,
    ) -> None:
        self.device = device
        self.bf16 = bf16
        self.count = count
        self.network = build_model(config, NUM_CLASSES)
        if memory_format == torch.channels_last:
            use_channels_last(self.network)
        self.network = self.network.to(device).train()
        self.optimizer = build_optimizer(self.network, OptimizationConfig(), learning_rate=1e-3)
        self.images = torch.randn(batch_size, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
        self.labels = torch.randint(NUM_CLASSES, (batch_size,), device=device)

    def __call__(self) -> None:
        """Train, and wait for the device."""
        for _ in range(self.count):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = F.cross_entropy(self.network(self.images), self.labels)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
        wait_for(self.device)


def rows_of(
    name: str,
    flops: int,
    batch_size: int,
    count: int,
    seconds: dict[str, list[float]],
    product: MatrixProduct,
) -> list[list[str]]:
    """Return the table's rows of a network, one for each layout. flops: operations of an image."""
    rows = []
    for layout in LAYOUTS:
        images_per_second = batch_size * count / median(seconds[layout])
        fraction = median_ratio(seconds["product"], seconds[layout]) * flops * batch_size * count / product.flops
        figures = [f"{flops / 6e6:,.1f}", f"{batch_size}", f"{images_per_second:,.1f}"]
        figures += [f"{images_per_second * flops / 1e9:,.1f}", f"{fraction:.1%}"]
        rows.append([name if layout == "default" else "", layout, *figures])
    return rows


def throughput_yaml(speeds: dict[str, float], *, bf16: bool) -> str:
    """Return the content of `models/throughput.yaml`: the networks with their default settings, channels_last."""
    measured_on = f"{describe_hardware()}, {'bf16-mixed' if bf16 else '32-true'}, torch {torch.__version__}, {today()}"
    listed = {name: float(f"{speeds[name]:.3g}") for name in registered_networks() if name in speeds}
    return HEAD_OF_YAML + yaml.safe_dump(
        {"measured_on": measured_on, "images_per_second": listed}, sort_keys=False, width=1000
    )


def show(rows: list[list[str]], product: MatrixProduct, *, bf16: bool, repeats: int) -> None:
    """Print the table."""
    precision = "bf16-mixed" if bf16 else "32-true"
    peak = product.flops_per_second() / 1e9
    show_table(
        f"Training throughput: forward, backward and optimizer step, 32x32 pixels, {precision}, {this_device().type}",
        ["network", "layout", "M mult-adds", "batch", "images/s", "GFLOP/s", "of peak"],
        rows,
        notes=[
            f"Peak: {product.description}, {peak:,.0f} GFLOP/s at the end of the run. {repeats} timings of each, "
            "medians."
        ],
        versions=describe_versions(),
    )


if __name__ == "__main__":
    run_benchmark(main)
