"""Search for better settings from Python, and compare the best with the recipe on the same validation images.

python examples/sweep.py [DATA_FOLDER]    (default: Shapes-100, generated in dataset_shapes100)
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from cifar100 import compare, evaluate, load_config, sweep, train

FIXED: dict[str, Any] = {"training.max_epochs": 2}
SPACE: dict[str, Any] = {
    "optimization.learning_rate": {"low": 0.03, "high": 1.0, "log": True},
    "optimization.label_smoothing": [0.0, 0.1, 0.2],
}

if __name__ == "__main__":  # each trial is a process that imports this file
    FIXED["data.root"] = sys.argv[1] if len(sys.argv) > 1 else "dataset_shapes100"
    file = Path("sweep_example.yaml")
    file.write_text(yaml.safe_dump({"recipe": "quickstart", "trials": 3, "fixed": FIXED, "space": SPACE}))
    found = sweep(file)  # the same call continues a sweep that was interrupted
    print(f"the best of {len(found.trials)} trials has {found.trials[0].values}")
    # The sweep chose the best by these images with seed 0, so compare it with the recipe with another seed.
    seed = {"training.seed": 1}
    configs = load_config("quickstart", overrides=FIXED | seed), load_config(files=found.best_config, overrides=seed)
    runs = [train(config) for config in configs]
    for run in runs:
        evaluate(run, split="validation")
    (pair,) = compare(runs, split="validation").pairs
    print(f"best trial against the recipe: {100 * pair.difference:+.2f} points, one seed")
