"""Compare a checkpoint with what a fresh run of the same settings would save, before Lightning restores it.

The structure of the file is sound by now, see `runs.outlines.checkpoint`. Here every part gets its schema. A failure in
Lightning after this is a bug and keeps its traceback.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor

from cifar100.errors import UserError
from cifar100.files.schema import (
    Schema,
    boolean,
    fields,
    like,
    list_of,
    map_of,
    mismatch,
    nothing_or,
    number,
    text,
    whole,
)
from cifar100.runs.checkpoints import OWN_STATE
from cifar100.training.experiment import Experiment
from cifar100.training.optimization.ema import AVERAGED
from cifar100.training.optimization.optimizers import build_optimizer
from cifar100.training.reporting.silence import quiet

_SCHEDULED = ("lr", "momentum", "betas")
"""Options of the optimizer that change in training."""

_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
"""Options of the optimizer that depend on the device, which may change on resume."""


def check_resumable(
    state: dict[str, Any], path: Path, experiment: Experiment, *, is_custom_network: bool = False
) -> None:
    """Check that a run can be resumed from a checkpoint.

    Args:
        state: the content of the checkpoint.
        path: its path, for the message.
        experiment: the parts of the run.
        is_custom_network: whether the network may have parameters that never get a gradient.

    Raises:
        UserError: names the first part that does not fit.
    """
    try:
        _schema(experiment)(state, "it")
        _check_optimizer(state["optimizer_states"][0], experiment, needs_all=not is_custom_network)
        _check_counts(state, experiment)
    except ValueError as error:
        raise UserError(
            f"checkpoint {path} does not fit the run: {error}; restore the file, or start another run."
        ) from error


def _schema(experiment: Experiment) -> Schema:
    module = experiment.module
    averaging = experiment.config.optimization.ema_decay is not None
    average = fields({"weights": _tensors_like(module.network.state_dict()), "steps": whole(1)})
    return fields(
        {
            "epoch": whole(),
            "global_step": whole(),
            "pytorch-lightning_version": _version,
            "state_dict": _tensors_like(module.state_dict()),
            "loops": _loops(experiment),
            "callbacks": fields({"EpochRecorder": like({"steps": 0, "images": 0, "training": 0.0, "seconds": 0.0})}),
            "optimizer_states": list_of(fields({"state": _mapping, "param_groups": list_of(_mapping)}), length=1),
            "lr_schedulers": list_of(fields({"last_epoch": whole(), "_step_count": whole()}), length=1),
            "clock": like({"steps": 0, "seconds": 0.0}),
            "train_sums": _tensor_like(module.train_sums.sums, finite=False),
            OWN_STATE: fields(
                {
                    "version": text,
                    "finished_epochs": whole(),
                    "mid_epoch": boolean,
                    "config": _mapping,
                    "random_state": fields(
                        {"cpu": _generator_state, "cuda": list_of(_cuda_state)}, optional={"mps": _mps_state}
                    ),
                }
            ),
        },
        optional={
            AVERAGED: average if averaging else _absent,
            "MixedPrecision": map_of(number()),
        },
    )


def _mapping(value: Any, where: str) -> None:
    fields({})(value, where)


def _absent(value: Any, where: str) -> None:
    raise ValueError(f"{where} is there, but the run has no such setting")


def _version(value: Any, where: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[2-9]\.\d{1,4}\.\d{1,4}((\.post|\.dev|rc|a|b)\d{1,8})?", value):
        raise mismatch(where, value, "a version of Lightning from 2.0.0")


def _tensor_like(example: Tensor, *, finite: bool = True) -> Schema:
    """Admit tensors of one shape and type."""

    def check(value: Any, where: str) -> None:
        expected = f"{example.dtype} {tuple(example.shape)}".removeprefix("torch.")
        if not isinstance(value, Tensor):
            raise mismatch(where, value, expected)
        if (value.dtype, value.shape, value.requires_grad) != (example.dtype, example.shape, False):
            found = f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.")
            raise ValueError(f"{where} is {found}{' with a gradient' * value.requires_grad}, expected {expected}")
        may_be_infinite = not example.is_meta and not example.isfinite().all()  # a mask of a custom network
        if finite and value.is_floating_point() and not may_be_infinite and not value.isfinite().all():
            raise ValueError(f"{where} holds numbers that are not finite")

    return check


def _tensors_like(example: Mapping[str, Tensor]) -> Schema:
    """Admit mappings of the same names, each to a tensor like the example's."""
    tensors = fields({name: _tensor_like(tensor) for name, tensor in example.items()})

    def check(value: Any, where: str) -> None:
        tensors(value, where)
        unexpected = sorted(map(str, value.keys() - example.keys()))
        if unexpected:
            raise ValueError(f"{where} has the unexpected {unexpected[0][:80]!a}")

    return check


def _generator_state(value: Any, where: str) -> None:
    _tensor_like(torch.get_rng_state())(value, where)
    try:
        torch.Generator().set_state(value)
    except RuntimeError as error:
        raise ValueError(f"{where} is not the state of a random generator") from error


def _cuda_state(value: Any, where: str) -> None:
    _tensor_like(torch.zeros(16, dtype=torch.uint8))(value, where)  # seed and offset of Philox, 8 bytes each


def _mps_state(value: Any, where: str) -> None:
    if torch.backends.mps.is_available():  # else it is ignored
        _tensor_like(torch.mps.get_rng_state())(value, where)


def _loops(experiment: Experiment) -> Schema:
    """Admit what Lightning's loops save, and the position of our own loader."""
    with quiet():
        trainer = L.Trainer(barebones=True, accelerator="cpu", devices=1, num_nodes=1, plugins=[LightningEnvironment()])
    names = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    example = {name: getattr(trainer, name).state_dict() for name in names}
    loaders = example["fit_loop"].pop("state_dict")
    assert not loaders, "a loop without loaders has no state of them"
    position = fields({"epoch": whole(), "step": whole(0, experiment.steps_per_epoch)})
    custom = experiment.split is None
    plain = like(example)

    def check(value: Any, where: str) -> None:
        fields(dict.fromkeys(names, _mapping))(value, where)
        fit = dict(value["fit_loop"])
        loader = fields({}) if custom else fields({"combined_loader": list_of(position, length=1)})
        loader(fit.pop("state_dict", None), f"{where}.fit_loop.state_dict")
        plain({**value, "fit_loop": fit}, where)

    return check


def _check_optimizer(state: Any, experiment: Experiment, *, needs_all: bool) -> None:
    """Compare the optimizer's state with that of a fresh one after a step on weights without memory."""
    settings = experiment.config.optimization
    assert not isinstance(settings.learning_rate, str), "a run that has saved a state has a learning rate"
    network = copy.deepcopy(experiment.module.network).to("meta")
    optimizer = build_optimizer(network, settings, settings.learning_rate)
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    example = optimizer.state_dict()
    list_of(_mapping, length=len(example["param_groups"]))(state["param_groups"], "param_groups")
    for position, (group, expected) in enumerate(zip(state["param_groups"], example["param_groups"], strict=True)):
        _check_group(group, expected, f"param_groups[{position}]", is_scheduled=settings.cycle_momentum)
    _check_moments(state["state"], example["state"], needs_all=needs_all)


def _check_group(group: Mapping[str, Any], expected: Mapping[str, Any], where: str, *, is_scheduled: bool) -> None:
    free = _SCHEDULED if is_scheduled else ("lr",)
    for name in expected:
        if name not in group:
            raise ValueError(f"{where} has no {name!r}")
        value = group[name]
        if name in _IMPLEMENTATION:
            nothing_or(boolean)(value, f"{where}.{name}")
        elif name in free:
            schema = list_of(number(0, 1), length=2) if name == "betas" else number(0)
            schema(value, f"{where}.{name}")
        elif value != expected[name]:
            raise mismatch(f"{where}.{name}", value, f"{expected[name]!s:.40}, as the settings have it")


def _check_moments(state: Mapping[Any, Any], example: Mapping[int, Any], *, needs_all: bool) -> None:
    """Compare the state of each parameter. A parameter that never had a gradient has none."""
    for key, values in state.items():
        if type(key) is not int or key not in example:
            raise ValueError(f"the optimizer has a state of the unknown parameter {key!s:.40}")
        where = f"the optimizer's state of parameter {key}"
        if not isinstance(values, Mapping) or values.keys() != example[key].keys():
            raise mismatch(where, values, f"{', '.join(example[key])}")
        for name, expected in example[key].items():
            _tensor_like(expected)(values[name], f"{where}: {name}")
    if needs_all and 0 < len(state) < len(example):
        raise ValueError(f"the optimizer has a state of {len(state):,} parameters, expected {len(example):,}")


def _check_counts(state: dict[str, Any], experiment: Experiment) -> None:
    """Compare the numbers of steps and epochs, which are saved in several places."""
    loops = state["loops"]["fit_loop"]
    steps, epoch = state["global_step"], state["epoch"]
    optimizer_steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    counts = {
        "the loop": optimizer_steps["completed"],
        "the clock": state["clock"]["steps"],
        "the schedule": state["lr_schedulers"][0]["last_epoch"],
    }
    for name, count in counts.items():
        if count != steps:
            raise ValueError(f"it is from step {steps}, but {name} is at {count}")
    finished = state[OWN_STATE]["finished_epochs"]
    if loops["epoch_progress"]["current"]["processed"] != finished or epoch not in (finished, finished - 1):
        raise ValueError(f"it is from epoch {epoch}, but {finished} epochs are finished")
    if steps > (finished + 1) * experiment.steps_per_epoch:
        raise ValueError(f"it is from step {steps}, beyond the end of epoch {finished + 1}")
    training, optimization = experiment.config.training, experiment.config.optimization
    if training.max_epochs is not None and finished > math.ceil(training.max_epochs):
        raise ValueError(f"{finished} epochs are finished, but the run has {training.max_epochs:g}")
    if optimization.ema_decay is not None and AVERAGED not in state and optimization.ema_start == 0 and steps:
        raise ValueError("it has no averaged weights")
    if steps and not state["optimizer_states"][0]["state"] and "MixedPrecision" not in state:
        has_moments = optimization.optimizer != "sgd" or optimization.momentum > 0
        if has_moments:
            raise ValueError("the optimizer has no state")
