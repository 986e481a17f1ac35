"""CCT-7/3x1: a compact convolutional transformer of 7 encoder layers, with one 3x3 convolution that makes the tokens.

A. Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021, arXiv:2104.05704. Initialisation,
stochastic depth and dropout of attention are those of the authors' code. The positions are learned; at another
resolution than 32x32 they are interpolated. It was trained for 300 epochs with AdamW, RandAugment, mixup and CutMix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar100.models import network
from cifar100.models.residual import ResidualBlock, set_stochastic_depth

WIDTH = 256
"""Channels of a token."""

HIDDEN_UNITS = 512
NUM_HEADS = 4
NUM_LAYERS = 7

GRID_SIDE = 16
"""Tokens along a side of a 32x32 image."""

ATTENTION_DROPOUT = 0.1
STOCHASTIC_DEPTH = 0.1
"""Probability that the last layer's residuals are dropped."""


class Attention(nn.Module):
    """Self-attention with several heads (Vaswani et al., 2017), without biases in queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, T, C) to the same shape."""
        divided = self.queries_keys_values(tokens).unflatten(2, (3, NUM_HEADS, -1))  # (N, T, 3, heads, C / heads)
        queries, keys, values = divided.permute(2, 0, 3, 1, 4).unbind()  # each (N, heads, T, C / heads)
        dropout = ATTENTION_DROPOUT if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        out: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return out


class EncoderLayer(ResidualBlock):
    """Attention and a perceptron, each with a shortcut. As in the authors' code, the second shortcut is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, HIDDEN_UNITS), nn.GELU(), nn.Linear(HIDDEN_UNITS, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, T, C) to the same shape."""
        tokens = self.norm2(tokens + self.drop(self.attention(self.norm1(tokens))))
        return tokens + self.drop(self.perceptron(tokens))


class CompactTransformer(nn.Module):
    """A convolution with max-pooling, encoder layers, and a linear head on a weighted mean of the tokens."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.tokenizer = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.positions = nn.Parameter(torch.empty(1, GRID_SIDE**2, WIDTH))
        self.layers = nn.Sequential(*(EncoderLayer() for _ in range(NUM_LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.importance = nn.Linear(WIDTH, 1, bias=False)  # the softmax would cancel a bias
        self.classifier = nn.Linear(WIDTH, num_classes)
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """images: float (N, 3, H, W), normalised. Returns logits (N, num_classes)."""
        grid = self.tokenizer(images)  # (N, C, H / 2, W / 2)
        tokens = grid.flatten(2).transpose(1, 2) + self._positions(grid.shape[2], grid.shape[3])  # (N, T, C)
        tokens = self.norm(self.layers(tokens))
        weights = self.importance(tokens).softmax(dim=1)  # (N, T, 1)
        logits: Tensor = self.classifier((weights * tokens).sum(dim=1))
        return logits

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the positions of a grid of tokens, (1, height * width, C)."""
        # Without a comparison of sizes, about which torch.jit.trace would warn; at 32x32 nothing changes.
        grid = self.positions.transpose(1, 2).reshape(1, WIDTH, GRID_SIDE, GRID_SIDE)
        return F.interpolate(grid, (height, width), mode="bilinear").flatten(2).transpose(1, 2)

    def _init_weights(self) -> None:
        nn.init.trunc_normal_(self.positions, std=0.2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


@network(
    "cct_7_3x1",
    paper="Hassani et al. 2021",
    parameters=3_783_268,
    mult_adds=1_181_574_144,
    accuracy=0.8092,
    accuracy_source="the authors' code, 300 epochs with RandAugment, mixup and CutMix",
)
def compact_transformer(name: str, num_classes: int) -> CompactTransformer:
    """Build a CCT-7/3x1."""
    network = CompactTransformer(num_classes=num_classes)
    set_stochastic_depth(network, STOCHASTIC_DEPTH, from_zero=True)
    return network
