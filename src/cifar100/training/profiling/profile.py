"""The profile of a run: a trace of some steps, the time of the phases of others, and the fraction of the peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from cifar100.devices import choose_accelerator, choose_precision
from cifar100.files.atomic import write_json
from cifar100.models.summary import mult_adds
from cifar100.runs.folder import RunFolder
from cifar100.training.experiment import Experiment
from cifar100.training.profiling.peak import MatrixProduct
from cifar100.training.profiling.step_times import ShapeOfBatches, StepTimes
from cifar100.training.profiling.trace import StepTrace
from cifar100.training.reporting.run_log import RunLog

WARM_UP, TRACED, TIMED = 5, 3, 20
"""Steps at the start that are left out, steps of the trace, and steps of the table. The trace slows its own steps."""

TRACE, TIMES = "steps.pt.trace.json.gz", "step_times.json"
"""Files in the folder `profile` of a run. TensorBoard finds the first by its ending."""

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32-true": torch.float32}


@dataclass(frozen=True)
class Window:
    """Which steps are traced and timed, counted from 0."""

    first_traced: int
    traced: int
    timed: int

    @property
    def first_timed(self) -> int:
        """The step after the trace."""
        return self.first_traced + self.traced


def window(total_steps: int | None) -> Window:
    """Return the steps to record in a run of that many steps; None: unknown, many."""
    if total_steps is None or total_steps >= WARM_UP + TRACED + TIMED:
        return Window(WARM_UP, TRACED, TIMED)
    traced = min(TRACED, max(1, total_steps // 4))
    first = min(WARM_UP, total_steps // 4)
    return Window(first, traced, max(0, total_steps - first - traced))


class RunProfile:
    """Records a run and reports it at its end.

    Args:
        run: receives the folder `profile`.
        experiment: the parts of the run.
        remaining_steps: optimizer steps until its end; None: unknown.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, *, remaining_steps: int | None) -> None:
        self._run = run
        self._experiment = experiment
        steps = window(remaining_steps)
        self.trace = StepTrace(run.profile / TRACE, first_step=steps.first_traced, num_steps=steps.traced)
        self.times = StepTimes(first_step=steps.first_timed, num_steps=steps.timed)
        training = experiment.config.training
        self.times.device = torch.device(choose_accelerator(training.accelerator))

    @property
    def callbacks(self) -> list[Callback]:
        """What the Trainer must call, beside `times` as its profiler."""
        return [self.trace, ShapeOfBatches(self.times)]

    def report(self, run_log: RunLog) -> None:
        """Measure the peak, write `step_times.json` and show the table. Called on rank 0."""
        run_log.show()
        if not self.times.steps:
            run_log.tell("profile  the run has too few steps to time")
            return
        facts = self._facts()
        self._run.profile.mkdir(exist_ok=True)
        write_json(facts, self._run.profile / TIMES)
        for line in table(facts):
            run_log.tell(line)
        run_log.tell(f"profile  {self._run.profile}; open {TRACE} in https://ui.perfetto.dev or in TensorBoard")

    def _facts(self) -> dict[str, Any]:
        config, times = self._experiment.config, self.times
        seconds = sum(times.seconds.values()) / times.steps
        network = self._experiment.module.trained
        passes = 2 if config.optimization.sam != "none" else 1
        operations = sum(
            steps * images * mult_adds(network, image_shape=shape) for (images, *shape), steps in times.batches.items()
        )
        flops = passes * 6 * operations / times.steps
        product = MatrixProduct(times.device, DTYPES[choose_precision(config.training.precision, times.device.type)])
        peak = product.flops_per_second()
        return {
            "steps": times.steps,
            "batches": [{"shape": list(shape), "steps": steps} for shape, steps in times.batches.items()],
            "seconds_per_step": seconds,
            "phases": {phase: total / times.steps for phase, total in times.seconds.items()},
            "flops_per_step": flops,
            "peak_flops_per_second": peak,
            "peak_measured_with": product.description,
            "fraction_of_peak": flops / seconds / peak,
        }


def table(facts: dict[str, Any]) -> list[str]:
    """Return the lines of the table of `step_times.json`."""
    seconds = facts["seconds_per_step"]
    lines = [f"a step   {1e3 * seconds:.4g} ms, mean of {facts['steps']}; {_shown(facts['batches'])}"]
    for phase, taken in facts["phases"].items():
        lines.append(f"         {phase:<20} {1e3 * taken:9.3f} ms  {taken / seconds:6.1%}")
    reached, peak = facts["flops_per_step"] / seconds / 1e9, facts["peak_flops_per_second"] / 1e9
    lines.append(
        f"         {reached:,.0f} GFLOP/s, {facts['fraction_of_peak']:.1%} of the {peak:,.0f} of a "
        f"{facts['peak_measured_with']}"
    )
    return lines


def _shown(batches: list[dict[str, Any]]) -> str:
    """Return such as `256 images of 16 x 16 pixels (12 steps), 256 of 20 x 20 (8 steps)`, or what features are."""
    texts: list[str] = []
    for batch in batches:
        if len(batch["shape"]) == 2:
            texts.append("{:,} vectors of {:,} features".format(*batch["shape"]))
            continue
        images, _, height, width = batch["shape"]
        images_word, pixels_word = ("", "") if texts else (" images", " pixels")
        steps = f" ({batch['steps']} steps)" if len(batches) > 1 else ""
        texts.append(f"{images:,}{images_word} of {height} x {width}{pixels_word}{steps}")
    return ", ".join(texts)
