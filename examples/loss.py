"""Train with a custom loss, and compare it with cross-entropy on the same validation images.

python examples/loss.py [DATA_FOLDER]    (default: Shapes-100, generated in dataset_shapes100)
"""

import sys

from torch import Tensor
from torch.nn import functional as F

from cifar100 import compare, evaluate, load_config, train


def poly_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Poly-1 loss (Leng et al., 2022): cross-entropy plus the probability that is missing at the label.

    labels: int64 (N,), or probabilities (N, num_classes) if mixup or CutMix blends images.
    """
    targets = labels if labels.is_floating_point() else F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    missing = 1 - (targets * logits.softmax(dim=1)).sum(dim=1)
    return F.cross_entropy(logits, labels) + missing.mean()


if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else "dataset_shapes100"
    config = load_config("quickstart", overrides={"data.root": root, "training.max_epochs": 2})
    runs = [train(config), train(config, loss=poly_loss)]
    for run in runs:
        evaluate(run, split="validation")
    (pair,) = compare(runs, split="validation").pairs
    low, high = pair.interval
    print(f"poly_loss: {100 * pair.difference:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}), one seed")
