"""The networks of timm, `timm/NAME`, and what their published weights expect of an image.

R. Wightman, "PyTorch Image Models", 2019, https://github.com/huggingface/pytorch-image-models. A network is built as
timm defines it; its stem is not changed for small images.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import requests
from torch import Tensor, nn

from cifar100.config import ModelConfig
from cifar100.config.yaml_text import parse_yaml
from cifar100.errors import UserError
from cifar100.foreign_text import printable, reason
from cifar100.models import network
from cifar100.process.packages import need

FAMILY = "timm/"

SECONDS_TO_CONNECT = 10.0

Triple = tuple[float, float, float]


@network("timm/")
def timm_network(
    name: str, num_classes: int, *, pretrained: bool = False, arguments: tuple[str, ...] = ()
) -> nn.Module:
    """Build a network of timm, with random parameters.

    Args:
        name: `timm/` and a name of `timm.list_models()`, perhaps with the tag of its weights: `timm/resnet50.a1_in1k`.
        num_classes: width of the logits.
        pretrained: Start from the weights that timm publishes for a timm network, which are downloaded once. Images are
            normalised and scaled as these weights expect, unless `data.mean`, `data.std` or `data.image_size` say
            otherwise.
        arguments: Arguments for a timm network, as in [drop_path_rate=0.1, global_pool=max].
    """
    return _create(name, arguments, num_classes=num_classes)


@dataclass(frozen=True)
class NativeInput:
    """The images for which a network's published weights were trained."""

    mean: Triple
    std: Triple
    side: int
    """In pixels."""

    is_fixed: bool
    """Whether the network is built for one size of images, as a vision transformer is."""
    is_published: bool
    """Whether timm publishes weights."""


def native_input(name: str) -> NativeInput:
    """Return what timm records for the weights of `timm/NAME`.

    Raises:
        UserError: timm is not installed, or there is no such network.
    """
    timm = _imported()
    _check_name(name)
    known = timm.get_pretrained_cfg(name.removeprefix(FAMILY))
    (red, green, blue), (std_red, std_green, std_blue) = (map(float, values) for values in (known.mean, known.std))
    return NativeInput(
        mean=(red, green, blue),
        std=(std_red, std_green, std_blue),
        side=int(known.input_size[-1]),
        is_fixed=bool(known.fixed_input_size),
        is_published=timm.models.is_model_pretrained(name.removeprefix(FAMILY)),
    )


def published_weights(config: ModelConfig) -> dict[str, Tensor]:
    """Return the weights that timm publishes for a network, from the hub or its cache.

    Raises:
        UserError: there are none, or they cannot be fetched.
    """
    timm = _imported()
    _check_name(config.name)
    own = config.name.removeprefix(FAMILY)
    if not timm.models.is_model_pretrained(own):
        names = timm.list_pretrained(f"{own.partition('.')[0]}.*")
        fix = f"name one that has, such as {FAMILY}{names[0]}" if names else "leave out --model.pretrained"
        raise UserError(f"timm publishes no weights for {config.name}; {fix}.")
    try:
        _check_reachable(timm.get_pretrained_cfg(own).hf_hub_id)
        trained = _create(config.name, config.arguments or (), pretrained=True)
    except UserError:
        raise
    except Exception as error:  # of the hub's client, of its connection and of timm: many kinds
        raise UserError(
            f"the weights of {config.name} cannot be fetched from the hub ({reason(error)}); connect to the internet, "
            "or use a file of weights: --model.weights FILE"
        ) from error
    weights: dict[str, Tensor] = trained.state_dict()
    return weights


def _check_reachable(repository: str | None) -> None:
    """Ask the hub for any answer, unless its cache holds the weights: its client retries for up to six minutes.

    repository: on the hub; None: the weights are elsewhere.

    Raises:
        RequestException: there is no answer.
    """
    if repository is None:
        return
    from huggingface_hub import constants, try_to_load_from_cache

    if not any(isinstance(try_to_load_from_cache(repository, name), str) for name in _WEIGHT_FILES):
        requests.head(constants.ENDPOINT, timeout=SECONDS_TO_CONNECT, allow_redirects=False)


_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def list_networks(pattern: str) -> list[str]:
    """Return the names of timm's networks that match a pattern such as `timm/resnet*`, in natural order.

    Raises:
        UserError: timm is not installed.
    """
    return [f"{FAMILY}{name}" for name in _imported().list_models(pattern.removeprefix(FAMILY))]


def _create(name: str, arguments: tuple[str, ...], **options: Any) -> nn.Module:
    timm = _imported()
    _check_name(name)
    given = dict(map(_argument, arguments))
    try:
        created: nn.Module = timm.create_model(name.removeprefix(FAMILY), **given, **options)
    except (TypeError, ValueError, AssertionError) as error:
        if not given:
            raise
        raise UserError(
            f"{name} cannot be built with --model.arguments [{', '.join(arguments)}] ({reason(error)}); correct "
            "the arguments."
        ) from error
    return created


def _imported() -> Any:
    """Import timm.

    Raises:
        UserError: it is not installed, or its import fails.
    """
    need("timm", to="build a network of timm", extra="timm")
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision raises both beside a torch of another version
        raise UserError(
            f"timm cannot be imported ({reason(error)}); it needs the torchvision that matches torch: "
            "pip install --upgrade torch torchvision"
        ) from error
    return timm


def _check_name(name: str) -> None:
    """Refuse a network that timm does not have, and a tag of weights that it does not have for a network."""
    timm = _imported()
    architecture, _, tag = name.removeprefix(FAMILY).partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture[:100], timm.list_models(), n=1)
        meant = f"; did you mean {FAMILY}{near[0]}?" if near else "."
        raise UserError(f"timm has no network {printable(architecture, max_length=100)!r}{meant} {_HOW_TO_LIST}")
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        listed = f"it has {', '.join(known)}" if known else "it has none"
        raise UserError(f"timm has no weights {printable(tag, max_length=100)!r} of {architecture}; {listed}.")


_HOW_TO_LIST = "List them: cifar100 models 'timm/*resnet*'"


def _argument(text: str) -> tuple[str, Any]:
    """Return the name and the value in `drop_path_rate=0.1`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier() or name.strip() in ("pretrained", "num_classes"):
        raise UserError(f"--model.arguments has {text!r:.80}, but each must be NAME=VALUE, as in drop_path_rate=0.1")
    return name.strip(), parse_yaml(value)
