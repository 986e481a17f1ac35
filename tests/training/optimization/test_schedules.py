import json
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from cifar100.config import OptimizationConfig
from cifar100.training.optimization.clock import RunClock
from cifar100.training.optimization.schedules import (
    build_scheduler,
    learning_rate_factor,
    momentum_at,
    peak_progress,
    set_learning_rates,
    set_momentum,
)

WARM_UP_SCHEDULES = ("one_cycle", "cosine", "linear")
ALL_SCHEDULES = (*WARM_UP_SCHEDULES, "constant")


def sgd(*learning_rates: float) -> Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in learning_rates]
    return SGD(groups, lr=0.1, momentum=0.9)


def adamw() -> Optimizer:
    return AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def trace(
    optimizer: Optimizer, scheduler: object, num_steps: int, *, momentum: Callable[[int], None] = lambda step: None
) -> tuple[list[list[float]], list[float]]:
    """Learning rates of all groups and momentum of the first, as the optimizer sees them at each step.

    momentum: sets the momentum of a step.
    """
    rates, momenta = [], []
    for step in range(num_steps):
        if step > 0:
            optimizer.step()
            scheduler.step()
        momentum(step)
        rates.append([group["lr"] for group in optimizer.param_groups])
        group = optimizer.param_groups[0]
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
    return rates, momenta


@pytest.mark.parametrize("make_optimizer", [lambda: sgd(0.113), lambda: sgd(0.1, 0.02), adamw])
@pytest.mark.parametrize("cycle_momentum", [True, False])
@pytest.mark.parametrize(
    ("total_steps", "pct_start"),
    [(2, 0.2), (2, 1.0), (3, 0.0), (7, 0.05), (10, 0.2), (97, 0.3), (100, 0.999), (250, 1.0), (1000, 0.0)],
)
def test_one_cycle_equals_torchs(make_optimizer, cycle_momentum: bool, total_steps: int, pct_start: float) -> None:
    config = OptimizationConfig(
        schedule="one_cycle",
        pct_start=pct_start,
        div_factor=100,
        final_div_factor=1000,
        cycle_momentum=cycle_momentum,
    )
    theirs, ours = make_optimizer(), make_optimizer()
    oracle = OneCycleLR(
        theirs,
        max_lr=[group["lr"] for group in theirs.param_groups],
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=100,
        final_div_factor=1000,
        cycle_momentum=cycle_momentum,
        base_momentum=0.85,
        max_momentum=0.95,
    )
    expected_rates, expected_momenta = trace(theirs, oracle, total_steps)
    clock = RunClock(total_steps)

    def momentum(step: int) -> None:
        clock.steps = step
        if cycle_momentum:
            set_momentum(ours, config, clock)

    rates, momenta = trace(ours, build_scheduler(ours, config, clock), total_steps, momentum=momentum)
    assert torch.allclose(torch.tensor(rates).double(), torch.tensor(expected_rates).double(), rtol=1e-9, atol=1e-12)
    assert momenta == pytest.approx(expected_momenta, rel=1e-9)


@pytest.mark.parametrize("schedule", WARM_UP_SCHEDULES)
def test_ends_and_peak(schedule: str) -> None:
    config = OptimizationConfig(schedule=schedule, pct_start=0.3, div_factor=20, final_div_factor=50)
    assert learning_rate_factor(config, 0) == pytest.approx(1 / 20)
    assert learning_rate_factor(config, 0.3) == pytest.approx(1)
    assert learning_rate_factor(config, 1) == pytest.approx(1 / (20 * 50))
    assert learning_rate_factor(config, 1.5) == learning_rate_factor(config, 1)


def test_shapes_between_the_ends() -> None:
    low = 1 / 10  # of the first step; with final_div_factor 1 also of the last
    halfway = (1 + low) / 2
    quarter_of_a_cosine = low + (1 - low) * (1 + math.cos(math.pi / 4)) / 2
    for schedule, rise, fall in (
        ("one_cycle", low + (1 - low) * (1 - math.cos(math.pi / 4)) / 2, quarter_of_a_cosine),
        ("cosine", low + (1 - low) / 4, quarter_of_a_cosine),
        ("linear", low + (1 - low) / 4, 1 - (1 - low) / 4),
    ):
        config = OptimizationConfig(schedule=schedule, pct_start=0.2, div_factor=10, final_div_factor=1)
        assert learning_rate_factor(config, 0.1) == pytest.approx(halfway), schedule
        assert learning_rate_factor(config, 0.6) == pytest.approx(halfway), schedule
        assert learning_rate_factor(config, 0.05) == pytest.approx(rise), schedule
        assert learning_rate_factor(config, 0.4) == pytest.approx(fall), schedule


def test_constant_is_constant() -> None:
    optimizer = sgd(0.3)
    scheduler = build_scheduler(optimizer, OptimizationConfig(schedule="constant", pct_start=0.5), RunClock(5))
    rates, momenta = trace(optimizer, scheduler, 7)
    assert rates == [[0.3]] * 7
    assert momenta == [0.9] * 7


@pytest.mark.parametrize("pct_start", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_warm_up_of_nothing_or_of_everything(schedule: str, pct_start: float) -> None:
    config = OptimizationConfig(schedule=schedule, pct_start=pct_start, div_factor=10, final_div_factor=10)
    optimizer = sgd(1.0)
    rates = [rate for (rate,) in trace(optimizer, build_scheduler(optimizer, config, RunClock(20)), 20)[0]]
    assert rates[0] == pytest.approx(1.0 if pct_start == 0 else 0.1)
    assert rates[-1] == pytest.approx(0.01 if pct_start == 0 else 1.0)
    assert all((before > after) == (pct_start == 0) for before, after in pairwise(rates))


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize("pct_start", [0.0, 0.3, 1.0])
def test_the_only_step_is_taken_at_the_highest_rate(schedule: str, pct_start: float) -> None:
    optimizer = sgd(0.1)
    scheduler = build_scheduler(optimizer, OptimizationConfig(schedule=schedule, pct_start=pct_start), RunClock(1))
    assert trace(optimizer, scheduler, 3)[0][0] == [0.1]


def test_a_peak_on_the_first_step_is_no_division_by_zero() -> None:
    config = OptimizationConfig(schedule="one_cycle", pct_start=0.1, div_factor=10, final_div_factor=10)
    optimizer = sgd(0.1)
    rates, _ = trace(optimizer, build_scheduler(optimizer, config, RunClock(10)), 10)
    assert rates[0] == pytest.approx([0.1])
    assert rates[-1] == pytest.approx([0.001])


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_stays_at_the_last_value_past_the_end(schedule: str) -> None:
    optimizer = sgd(0.1)
    config = OptimizationConfig(schedule=schedule, cycle_momentum=schedule == "one_cycle")
    rates, momenta = trace(optimizer, build_scheduler(optimizer, config, RunClock(4)), 9)
    assert rates[3:] == [rates[3]] * 6
    assert momenta[3:] == [momenta[3]] * 6


def test_peak_by_steps_tends_to_pct_start() -> None:
    config = OptimizationConfig(schedule="one_cycle", pct_start=0.2)
    assert peak_progress(config, 10) == pytest.approx(1 / 9)
    assert peak_progress(config, 10**9) == pytest.approx(config.pct_start)


def test_momentum_is_the_configured_one_unless_cycled() -> None:
    for schedule in ALL_SCHEDULES:
        assert momentum_at(OptimizationConfig(schedule=schedule, momentum=0.7), 0.5) == 0.7


def test_resumes_where_it_was() -> None:
    config = OptimizationConfig(schedule="one_cycle", pct_start=0.3)
    through, first_half, second_half = sgd(0.1, 0.2), sgd(0.1, 0.2), sgd(5.0, 5.0)
    expected, _ = trace(through, build_scheduler(through, config, RunClock(20)), 20)
    before = build_scheduler(first_half, config, RunClock(20))
    rates_before, _ = trace(first_half, before, 8)
    first_half.step()
    before.step()

    state = json.loads(json.dumps(before.state_dict()))  # primitives only
    after = build_scheduler(second_half, config, RunClock(20))
    after.load_state_dict(state)
    set_learning_rates(after)
    rates_after, _ = trace(second_half, after, 12)
    assert rates_before + rates_after == expected


def test_resuming_with_another_length_follows_the_new_schedule() -> None:
    config = OptimizationConfig(schedule="linear", pct_start=0.1)
    short, longer, from_start = sgd(0.1), sgd(0.1), sgd(0.1)
    scheduler = build_scheduler(short, config, RunClock(10))
    trace(short, scheduler, 10)
    short.step()
    scheduler.step()
    resumed = build_scheduler(longer, config, RunClock(30))
    resumed.load_state_dict(scheduler.state_dict())
    set_learning_rates(resumed)
    rates, _ = trace(longer, resumed, 20)
    assert rates == trace(from_start, build_scheduler(from_start, config, RunClock(30)), 30)[0][10:]


def test_the_momentum_of_adamw_is_its_first_beta() -> None:
    optimizer, config = adamw(), OptimizationConfig(optimizer="adamw", schedule="one_cycle", cycle_momentum=True)
    clock = RunClock(100)
    clock.steps = 99
    set_momentum(optimizer, config, clock)
    assert optimizer.param_groups[0]["betas"] == (pytest.approx(0.95), 0.999)
