"""Read the weights of a network from a file of any program: safetensors, or what `torch.save` wrote.

Nothing in a file is executed. A file of torch is read as data only (`weights_only=True`), after `outlines.checkpoint`
has compared every tensor with the file; a file of safetensors holds numbers and text alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cifar100.data.dataset_info import IMAGE_SIDE, MAX_IMAGE_SIDE, Triple, read_info
from cifar100.errors import UserError
from cifar100.files.regular import open_regular
from cifar100.files.schema import fields, list_of, nothing_or, number, whole
from cifar100.foreign_text import reason
from cifar100.process.packages import need
from cifar100.runs.checkpoints import NETWORK_PREFIX, averaged_weights
from cifar100.runs.folder import RunFolder
from cifar100.runs.outlines.checkpoint import outline
from cifar100.runs.outlines.legacy import legacy_outline

NESTED = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "weights")
"""Keys under which programs save the weights beside other things; an average comes first."""

PREFIXES = ("_orig_mod.", "module.", "model.", NETWORK_PREFIX)
"""What torch.compile, DDP, LightningModules and this program put before the names of all weights."""

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"

_MAX_HEADER_BYTES = 100_000_000
"""Of a safetensors file; the limit of its library."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """The weights in a file."""

    path: Path
    weights: dict[str, Tensor]
    """By their names, without prefixes that all of them share. In the file's order."""

    is_ordered: bool
    """Whether the order is that of the network: safetensors does not keep it."""

    normalization: tuple[Triple, Triple] | None
    """Mean and standard deviation of the channels in training, if the file says so; pixels in 0..1."""

    image_size: int | None = None
    """Side in pixels of the images with which a run of this program trained them; None for another program."""


def read_weights(path: Path, *, max_bytes: int) -> WeightFile:
    """Read a file of weights onto the CPU.

    Args:
        path: the file.
        max_bytes: maximum size of its tensors.

    Raises:
        UserError: it cannot be read, is larger, or holds something else than weights.
    """
    try:
        with open_regular(path) as file:
            num_bytes = os.fstat(file.fileno()).st_size
            start = file.read(9)
            file.seek(0)
            if start.startswith((_ZIP, _PICKLE)):
                read = outline if start.startswith(_ZIP) else legacy_outline
                return _of_torch(file, path, read(file, num_bytes=num_bytes, max_bytes=max_bytes))
            if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < _MAX_HEADER_BYTES:
                return _of_safetensors(file, path, num_bytes=num_bytes, max_bytes=max_bytes)
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise UserError(f"--model.weights {path} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # torch, zipfile, pickletools and safetensors raise many kinds for a damaged file
        raise UserError(
            f"--model.weights {path} cannot be read: it is damaged or holds more than weights ({reason(error)})."
        ) from error
    raise UserError(
        f"--model.weights {path} is neither a safetensors file nor written by torch.save; use a file of one of these."
    )


def _of_torch(file: BufferedReader, path: Path, content: Any) -> WeightFile:
    if not isinstance(_named_weights(content), dict):
        raise UserError(
            f"--model.weights {path} holds no weights by name, expected a state dict, or one under "
            f"{', '.join(NESTED[3:-1])} or {NESTED[-1]}."
        )
    saved = _config_of_run(content)
    file.seek(0)
    weights = _named_weights(torch.load(file, map_location="cpu", weights_only=True))
    assert weights is not None, "the outline has them"
    return WeightFile(
        path=path,
        weights=_plainly_named(weights),
        is_ordered=True,
        normalization=_of_run(saved, path),
        image_size=saved["data"].get("image_size") or IMAGE_SIDE if saved else None,
    )


def _of_safetensors(file: BufferedReader, path: Path, *, num_bytes: int, max_bytes: int) -> WeightFile:
    need("safetensors", to="read a safetensors file", extra="timm")
    import safetensors.torch

    if num_bytes > max_bytes:
        raise ValueError(f"it has {num_bytes:,} bytes, expected at most {max_bytes:,}")
    content = file.read(max_bytes)
    weights = safetensors.torch.load(content)
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    facts = _facts_of_export(metadata)
    return WeightFile(
        path=path,
        weights=_plainly_named(weights),
        is_ordered=False,
        normalization=_triples(facts) if facts else None,
        image_size=facts.get("image_size") or IMAGE_SIDE if facts else None,
    )


def _named_weights(content: Any) -> dict[str, Tensor] | None:
    """Return the state dict in the content of a file; None if there is none."""
    if not isinstance(content, dict):
        return None
    own = averaged_weights(content)
    if own is not None:
        return _tensors(own)
    nested = next((content[key] for key in NESTED if isinstance(content.get(key), dict)), None)
    found = _tensors(content if nested is None else nested)
    if found and any(name.startswith(NETWORK_PREFIX) for name in found):  # beside the state of our loss or SAM
        found = {name: value for name, value in found.items() if name.startswith(NETWORK_PREFIX)}
    return found


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """Return a mapping if it maps names to tensors and nothing else; else None."""
    named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    return dict(content) if content and named else None


def _plainly_named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that all names share."""
    names = list(weights)
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)), ""):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, weights.values(), strict=True))


def _config_of_run(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a checkpoint of this program; empty for another one."""
    try:
        config: dict[str, Any] = content["hyper_parameters"]["config"]
        _CONFIG(config, "it")
    except (KeyError, TypeError, ValueError):
        return {}
    return config


def _of_run(config: Mapping[str, Any], path: Path) -> tuple[Triple, Triple] | None:
    """Return the normalisation of a run of this program from its settings, or from the data in its folder."""
    if not config:
        return None
    if config["data"]["mean"] is not None:
        return _triples(config["data"])
    try:
        return read_info(RunFolder(path.absolute().parent.parent).dataset_info).normalization
    except UserError:  # the checkpoint alone was copied
        return None


def _facts_of_export(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input of the network from the metadata of an export of this program; empty if it is another file."""
    try:
        facts: dict[str, Any] = json.loads(metadata["cifar100"])
        _INPUT(facts, "it")
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return facts


def _triples(content: Any) -> tuple[Triple, Triple]:
    _INPUT(content, "it")
    mean, std = (tuple(map(float, content[name])) for name in ("mean", "std"))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


_SIDE = nothing_or(whole(16, MAX_IMAGE_SIDE))

_CONFIG = fields(
    {
        "data": fields(
            {"mean": nothing_or(list_of(number(0, 1), length=3)), "std": nothing_or(list_of(number(), length=3))},
            optional={"image_size": _SIDE},
        )
    }
)

_INPUT = fields(
    {"mean": list_of(number(0, 1), length=3), "std": list_of(number(0.001, 1), length=3)},
    optional={"image_size": _SIDE},
)
"""Of a run, and of the facts in an export; see `exported.facts`."""
