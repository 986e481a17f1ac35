from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar100.training.optimization import clock as clock_module
from cifar100.training.optimization.clock import RunClock, StandingClock, steps_of


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: time[0])
    return time


def test_by_steps_progress_is_0_at_the_first_and_1_at_the_last(now: list[float]) -> None:
    clock = RunClock(5)
    seen = []
    while not clock.is_over:
        seen.append(clock.progress)
        clock.steps += 1
        now[0] += 100
    assert seen == [0, 0.25, 0.5, 0.75, 1]
    assert clock.seconds == 500
    assert RunClock(1).progress == 0


def test_by_time_steps_do_not_matter(now: list[float]) -> None:
    clock = RunClock(None, max_seconds=60, started=990)
    clock.steps = 1000
    assert clock.progress == pytest.approx(10 / 60)
    assert not clock.is_over
    now[0] += 50
    assert (clock.progress, clock.is_over) == (1, True)
    now[0] += 50
    assert clock.progress == 1


def test_a_clock_that_is_held_stands_until_the_next_time(now: list[float]) -> None:
    clock = RunClock(None, max_seconds=60)
    clock.hold(15.0)
    now[0] += 30
    assert (clock.seconds, clock.progress, clock.running_seconds) == (15, 0.25, 30)
    clock.hold(clock.running_seconds)
    assert clock.progress == 0.5
    clock.resume(steps=7, seconds=40.0)
    now[0] += 5
    assert clock.seconds == 45


def test_a_standing_clock_has_the_same_progress_for_ever(now: list[float]) -> None:
    clock = StandingClock(0.2)
    clock.steps = 1000
    now[0] += 1e6
    assert (clock.progress, clock.is_over) == (0.2, False)


def test_time_left(now: list[float]) -> None:
    by_steps = RunClock(5)
    by_steps.steps = 3
    assert by_steps.seconds_left(0.5) == 1
    by_time = RunClock(None, max_seconds=60)
    now[0] += 20
    assert by_time.seconds_left(0.5) == 40
    now[0] += 200
    assert by_time.seconds_left(0.5) == 0


def run_through(clock: RunClock, now: list[float], *, seconds_per_step: Callable[[int], float]) -> list[float]:
    """Return the progress of each step of a whole run."""
    seen = []
    while not clock.is_over:
        seen.append(clock.progress)
        now[0] += seconds_per_step(clock.steps)
        clock.steps += 1
    return seen


@pytest.mark.parametrize(("seconds_per_step", "steps"), [(1.0, 11), (10.0, 6), (5.6, 11)])
def test_with_both_limits_the_run_ends_with_the_first(now: list[float], seconds_per_step: float, steps: int) -> None:
    clock = RunClock(11, max_seconds=60)
    seen = run_through(clock, now, seconds_per_step=lambda step: seconds_per_step)
    assert len(seen) == steps
    assert clock.seconds_left(seconds_per_step) == 0
    assert clock.progress == 1


@given(st.integers(1, 50), st.floats(1, 100), st.lists(st.floats(0.01, 10), min_size=50, max_size=50))
def test_with_both_limits_progress_never_falls_and_ends_at_1(
    total: int, seconds: float, durations: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        time = [0.0]
        patch.setattr(clock_module.time, "monotonic", lambda: time[0])
        clock = RunClock(total, max_seconds=seconds)
        seen = run_through(clock, time, seconds_per_step=lambda step: durations[step])
        assert seen == sorted(seen)
        assert all(0 <= progress <= 1 for progress in seen)
        assert clock.progress == 1 or total == 1


def test_time_left_with_both_limits_is_that_of_the_first(now: list[float]) -> None:
    clock = RunClock(10, max_seconds=60)
    assert clock.seconds_left(1.0) == 10
    assert clock.seconds_left(10.0) == 60


def test_the_time_of_an_interruption_does_not_count(now: list[float]) -> None:
    clock = RunClock(5, max_seconds=60)
    clock.resume(steps=2, seconds=30)
    now[0] += 15
    assert (clock.steps, clock.seconds, clock.progress) == (2, 45, 0.75)


@pytest.mark.parametrize(("epochs", "steps"), [(2, 96), (8.75, 420), (0.001, 1), (0.51 / 48, 1), (1.5 / 48, 2)])
def test_epochs_need_not_be_whole(epochs: float, steps: int) -> None:
    assert steps_of(epochs, 48) == steps
