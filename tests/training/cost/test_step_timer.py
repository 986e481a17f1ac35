from __future__ import annotations

from cifar100.config import Config, TrainingConfig
from cifar100.training.cost.step_timer import part_ends, part_sides


def test_a_run_has_a_part_for_each_resolution() -> None:
    assert (part_sides(Config()), part_ends(TrainingConfig())) == ((32,), (1.0,))
    sizes = TrainingConfig(resolutions=(16, 24, 32), resolution_changes=(0.3, 0.6))
    assert (part_sides(Config(training=sizes)), part_ends(sizes)) == ((16, 24, 32), (0.3, 0.6, 1.0))
