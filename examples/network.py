"""Train a custom network: any module that maps images (N, 3, 32, 32) to logits (N, num_classes).

python examples/network.py [DATA_FOLDER]    (default: Shapes-100, generated in dataset_shapes100)
"""

import sys

from torch import Tensor, nn

from cifar100 import evaluate, load_config, load_model, train


class PatchNet(nn.Module):
    """Cut an image into 4 x 4 patches, and mix their features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 64, 4, stride=4), nn.BatchNorm2d(64), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU())
        self.head = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.mix(self.patches(images))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else "dataset_shapes100"
    config = load_config("quickstart", overrides={"data.root": root, "training.max_epochs": 2})
    run = train(config, network=PatchNet)
    found = evaluate(run, split="validation", network=PatchNet)  # checkpoints do not contain the class
    print(f"{found.top1:.2%} of {found.num_images:,} validation images are classified correctly")
    classify = load_model(run, network=PatchNet)  # uint8 images (N, 3, 32, 32) -> probabilities (N, num_classes)
    print(f"{sum(weights.numel() for weights in classify.network.parameters()):,} parameters")
