"""A network of this program from an exported safetensors file, whose metadata name the network.

The file may be untrusted: it names a network and numbers, and neither a file nor another host.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from cifar100.config import Config
from cifar100.devices import choose_accelerator
from cifar100.errors import UserError
from cifar100.files.regular import open_regular, read_bytes
from cifar100.foreign_text import reason
from cifar100.models import NetworkSource, make_network, network_named, networks
from cifar100.models.timm_networks import FAMILY
from cifar100.results.exported.extra import need
from cifar100.results.exported.facts import KEY, Facts, parse_facts
from cifar100.runs.checkpoints import NETWORK_PREFIX, load_weights, max_checkpoint_bytes
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.settings import load_config

MAX_HEADER_BYTES = 10_000_000
"""Names and shapes of all tensors, and the metadata."""

_HARMLESS = re.compile(r"\w+ *= *(-?[\d.]+(e-?\d+)?|true|false)", re.IGNORECASE)
"""Arguments of a network of timm: numbers and flags. Others could name files and hosts, from which timm loads."""


def load_safetensors(path: Path, *, network: NetworkSource | None = None) -> TrainedNetwork:
    """Build the network that a file names and load its weights, with the temperature that it names.

    Args:
        path: the file.
        network: replaces the network that the file names; needed for a custom one.

    Raises:
        UserError: the file is damaged, is not from `cifar100 export`, or holds the weights of another network.
    """
    need("safetensors", to=f"read {path}")
    import safetensors.torch

    facts = _facts(path)
    is_custom = network is not None
    config = _config(path, facts, is_custom=is_custom)
    module = make_network(network, config.model, facts.info.num_classes) if is_custom else _outline(path, config, facts)
    limit = max_checkpoint_bytes(module)
    try:
        content = read_bytes(path, limit=limit)
        weights = safetensors.torch.load(content)
    except Exception as error:  # of safetensors: many kinds for a damaged file
        raise _unusable(path, reason(error)) from error
    if sum(value.numel() * value.element_size() for value in module.state_dict().values()) > len(content):
        raise _unusable(path, f"it is smaller than the weights of {facts.network}")
    module = module if is_custom else make_network(None, config.model, facts.info.num_classes)
    named = {f"{NETWORK_PREFIX}{name}": value for name, value in weights.items()}
    whose = f"network={type(module).__name__}, as given" if is_custom else "the network that its metadata name"
    load_weights(module, {"state_dict": named}, path, whose=whose)
    device = torch.device(choose_accelerator("auto"))
    return TrainedNetwork(
        network=module.eval().to(device),
        config=config,
        info=facts.info,
        checkpoint=path,
        epoch=facts.epoch,
        averaged=facts.averaged,
        device=device,
        temperature=facts.temperature,
    )


def _facts(path: Path) -> Facts:
    """Return the facts in the metadata of a file; no tensor is read."""
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"its header has {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}")
            found = json.loads(file.read(length)).get("__metadata__", {}).get(KEY)
        if found is None:
            raise ValueError(f"its metadata have no entry {KEY!r}, which names the network and the classes")
        return parse_facts(found)
    except Exception as error:  # what JSON holds may be anything
        raise _unusable(path, reason(error)) from error


def _config(path: Path, facts: Facts, *, is_custom: bool) -> Config:
    """Return settings with the network and its input as the file says."""
    overrides: dict[str, Any] = {
        "data.mean": facts.mean,
        "data.std": facts.std,
        "data.image_size": facts.image_size,
        "training.channels_last": False,
    }
    if not is_custom:
        if facts.network not in networks() and not facts.network.startswith(FAMILY):
            raise UserError(
                f"{path} holds the weights of a custom network, {facts.network!r:.100}; load it from Python: "
                f"load_model({path.as_posix()!r}, network=...)"
            )
        known = {setting.name for setting in network_named(facts.network).settings} - {"pretrained"}
        settings = {name: value for name, value in facts.model_settings.items() if name in known}
        arguments = settings.get("arguments", [])
        if not isinstance(arguments, list):
            raise _unusable(path, f"its network has the arguments {arguments!r:.100}, which are no list")
        for argument in arguments:
            if not _HARMLESS.fullmatch(str(argument)):
                raise _unusable(path, f"its network has the argument {argument!r:.100}, which is no number")
        overrides |= {"model.name": facts.network, **{f"model.{name}": value for name, value in settings.items()}}
    try:
        return load_config(overrides=overrides)
    except UserError as error:
        raise _unusable(path, reason(error)) from error


def _outline(path: Path, config: Config, facts: Facts) -> torch.nn.Module:
    """Return the network without memory for its weights.

    Raises:
        UserError: the settings in the file make none.
    """
    try:
        with torch.device("meta"):
            return make_network(None, config.model, facts.info.num_classes)
    except UserError:
        raise
    except Exception as error:  # of timm and torch, for sizes that do not fit together
        raise _unusable(path, reason(error)) from error


def _unusable(path: Path, why: str) -> UserError:
    return UserError(f"{path} cannot be used ({why}); export the run that it comes from: cifar100 export RUN")
