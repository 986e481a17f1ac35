"""Checkpoints that somebody has altered: name -> what is changed in the content that `torch.load` returns."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Content = dict[str, Any]

WEIGHT = "network.head.weight"


def put(*path: Any, to: Any) -> Callable[[Content], Any]:
    """Replace the value at a path of keys."""

    def change(content: Content) -> None:
        target: Any = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = to(target.get(path[-1])) if callable(to) and isinstance(target, dict) else to

    return change


def drop(*path: Any) -> Callable[[Content], Any]:
    """Remove the value at a path of keys."""

    def change(content: Content) -> None:
        target: Any = content
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


FIT = ("loops", "fit_loop")

RESUME: dict[str, Callable[[Content], Any]] = {
    **{
        f"without {'.'.join(map(str, path))}": drop(*path)
        for path in (
            *(("cifar100",), ("loops",), ("epoch",), ("global_step",), ("optimizer_states",), ("lr_schedulers",)),
            *(("callbacks",), ("callbacks", "EpochRecorder"), ("clock",), ("clock", "seconds"), ("train_sums",)),
            *(("pytorch-lightning_version",), ("averaged",), ("averaged", "steps"), ("averaged", "weights")),
            *(("cifar100", "random_state"), ("cifar100", "finished_epochs"), ("cifar100", "config")),
            *((*FIT, "epoch_progress"), (*FIT, "state_dict", "combined_loader"), ("state_dict", WEIGHT)),
            *(
                ("averaged", "weights", "head.weight"),
                ("optimizer_states", 0, "state"),
            ),
            *(("optimizer_states", 0, "state", 3), ("optimizer_states", 0, "state", 3, "momentum_buffer")),
            *(("optimizer_states", 0, "param_groups", 0, "lr"), ("optimizer_states", 0, "param_groups", 0, "params")),
        )
    },
    "epoch negative": put("epoch", to=-1),
    "epoch huge": put("epoch", to=10**9),
    "epoch text": put("epoch", to="1"),
    "step text": put("global_step", to="20"),
    "step huge": put("global_step", to=10**18),
    "finished epochs huge": put("cifar100", "finished_epochs", to=10**6),
    "finished epochs NaN": put("cifar100", "finished_epochs", to=float("nan")),
    "clock text": put("clock", "seconds", to="4"),
    "clock infinite": put("clock", "seconds", to=float("inf")),
    "clock elsewhere": put("clock", "steps", to=3),
    "schedule elsewhere": put("lr_schedulers", 0, "last_epoch", to=7),
    "no schedule": put("lr_schedulers", to=[]),
    "no optimizer": put("optimizer_states", to=[]),
    "optimizer without state": put("optimizer_states", 0, "state", to={}),
    "another parameter": put("optimizer_states", 0, "state", 99, to={}),
    "momentum of another shape": put("optimizer_states", 0, "state", 3, "momentum_buffer", to=torch.zeros(3)),
    "momentum complex": put("optimizer_states", 0, "state", 3, "momentum_buffer", to=lambda old: old.to(torch.cfloat)),
    "momentum NaN": put("optimizer_states", 0, "state", 3, "momentum_buffer", to=lambda old: old * float("nan")),
    "momentum text": put("optimizer_states", 0, "state", 3, "momentum_buffer", to="0"),
    "weight decay changed": put("optimizer_states", 0, "param_groups", 0, "weight_decay", to=0.5),
    "learning rate text": put("optimizer_states", 0, "param_groups", 0, "lr", to="0.1"),
    "parameters in another order": put("optimizer_states", 0, "param_groups", 0, "params", to=list(range(13, -1, -1))),
    "random state short": put("cifar100", "random_state", "cpu", to=torch.zeros(10, dtype=torch.uint8)),
    "random state of junk": put("cifar100", "random_state", "cpu", to=torch.full((5056,), 255, dtype=torch.uint8)),
    "random state text": put("cifar100", "random_state", "cpu", to="state"),
    "random state of floats": put("cifar100", "random_state", "cpu", to=torch.zeros(5056)),
    "CUDA state of junk": put("cifar100", "random_state", "cuda", to=[torch.zeros(3)]),
    "our part is a list": put("cifar100", to=[1]),
    "settings a list": put("cifar100", "config", to=[1]),
    "settings flat": put("cifar100", "config", "data", to=5),
    "settings nested": put("cifar100", "config", "data", "batch_size", to={"a": {"b": 1}}),
    "settings of tensors": put("cifar100", "config", "data", "batch_size", to=torch.zeros(2)),
    "settings unknown": put("cifar100", "config", "data", "more", to=1),
    "settings incomplete": drop("cifar100", "config", "data", "batch_size"),
    "loops text": put("loops", to="loops"),
    "progress negative": put(*FIT, "epoch_progress", "current", "processed", to=-1),
    "progress text": put(*FIT, "epoch_loop.batch_progress", "current", "ready", to="5"),
    "loader text": put(*FIT, "state_dict", "combined_loader", to=["position"]),
    "loader beyond the epoch": put(*FIT, "state_dict", "combined_loader", to=[{"epoch": 1, "step": 10**6}]),
    "two loaders": put(*FIT, "state_dict", "combined_loader", to=lambda old: old * 2),
    "recorder text": put("callbacks", "EpochRecorder", to="state"),
    "recorder without seconds": drop("callbacks", "EpochRecorder", "seconds"),
    "version of junk": put("pytorch-lightning_version", to="newest"),
    "version old": put("pytorch-lightning_version", to="0.3.0"),
    "sums of another shape": put("train_sums", to=torch.zeros(2)),
    "sums with a gradient": put("train_sums", to=torch.zeros(3, requires_grad=True)),
    "average of another shape": put("averaged", "weights", "head.weight", to=torch.zeros(2, 2)),
    "average NaN": put("averaged", "weights", "head.weight", to=lambda old: old * float("nan")),
    "average of no step": put("averaged", "steps", to=0),
    "scaler text": put("MixedPrecision", to={"scale": "x"}),
}
"""Alterations of a state to resume from; the weights of `WEIGHTS` as well."""

WEIGHTS: dict[str, Callable[[Content], Any]] = {
    "no weights": drop("state_dict"),
    "weights a list": put("state_dict", to=[1, 2]),
    "weight missing": drop("state_dict", WEIGHT),
    "weight unknown": put("state_dict", "network.more", to=torch.zeros(1)),
    "weight text": put("state_dict", WEIGHT, to="0.5"),
    "weight a number": put("state_dict", WEIGHT, to=0.5),
    "weight None": put("state_dict", WEIGHT, to=None),
    "weight of another shape": put("state_dict", WEIGHT, to=lambda old: old.T.contiguous()),
    "weight without elements": put("state_dict", WEIGHT, to=torch.zeros(0, 10**12)),
    "weight on meta": put("state_dict", WEIGHT, to=lambda old: old.to("meta")),
    "weight sparse": put("state_dict", WEIGHT, to=lambda old: old.to_sparse()),
    "weight sparse in rows": put("state_dict", WEIGHT, to=lambda old: old.to_sparse_csr()),
    "weight complex": put("state_dict", WEIGHT, to=lambda old: old.to(torch.cfloat)),
    "weight whole": put("state_dict", WEIGHT, to=lambda old: old.to(torch.int64)),
    "weight boolean": put("state_dict", WEIGHT, to=lambda old: old.bool()),
    "weight quantized": put("state_dict", WEIGHT, to=lambda old: torch.quantize_per_tensor(old, 0.1, 0, torch.qint8)),
    "weight nested": put(
        "state_dict", WEIGHT, to=lambda old: torch.nested.nested_tensor([old, old], layout=torch.jagged)
    ),
    "weight expanded": put("state_dict", WEIGHT, to=torch.zeros(1).expand(10**12)),
    "weight overlapping": put("state_dict", WEIGHT, to=lambda old: torch.zeros(100).as_strided((100, 8), (1, 0))),
    "weight NaN": put("state_dict", WEIGHT, to=lambda old: old * float("nan")),
    "weight infinite": put("state_dict", WEIGHT, to=lambda old: old / 0),
    "name a number": put("state_dict", 5, to=torch.zeros(1)),
    "averages text": put("averaged", to="yes"),
    "averages a list": put("averaged", to=[1]),
    "epoch a tensor": put("epoch", to=torch.tensor(3)),
    "epoch infinite": put("epoch", to=float("inf")),
    "content a list": lambda content: [content],
    "metadata of junk": lambda content: content.update(state_dict=_with_attribute(content["state_dict"], "get", 5)),
}
"""Alterations of the weights."""

HARMLESS: dict[str, Callable[[Content], Any]] = {
    "weight of 64 bits": put("state_dict", WEIGHT, to=lambda old: old.double()),
    "weight a parameter": put("state_dict", WEIGHT, to=lambda old: torch.nn.Parameter(old)),
    "weight transposed in memory": put("state_dict", WEIGHT, to=lambda old: old.T.contiguous().T),
    "weights a plain dict": put("state_dict", to=dict),
    "something more": put("more", to={"a": [1, 2.5, "text", None, (True, torch.zeros(2))]}),
}
"""Alterations that change no weight: they can be evaluated."""


def _with_attribute(mapping: Any, name: str, value: Any) -> Any:
    copy = OrderedDict(mapping)
    copy.__dict__[name] = value
    return copy


def alter(path: Path, change: Callable[[Content], Any]) -> None:
    """Alter a checkpoint on disk, and remove its sha256."""
    content = torch.load(path, weights_only=False)
    torch.save(change(content) or content, path)
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], *, method: int = zipfile.ZIP_STORED) -> None:
    """Write the archive of a checkpoint again, with changed members; None drops one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for member in old.namelist():
            content = change(member, old.read(member))
            if content is not None:
                new.writestr(member, content)
    path.write_bytes(buffer.getvalue())
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)


def in_pickle(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    """Replace bytes of the pickle."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert old in content
        return content.replace(old, new, 1)

    return change


def whole_pickle(content: Any) -> Callable[[str, bytes], bytes]:
    """Replace the pickle."""
    dumped = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    return lambda name, old: dumped if name.endswith("data.pkl") else old
