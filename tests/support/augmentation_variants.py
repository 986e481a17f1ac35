"""Augmentations that are switched on, and random numbers for them."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch

from cifar100.config import AugmentationConfig
from cifar100.config.types import Range
from cifar100.data.augmentation.base import BatchRandom
from cifar100.data.augmentation.registry import discover
from cifar100.data.sampler import EpochSampler

OFF = {**asdict(AugmentationConfig()), "flip": "none", "crop_padding": 0}


def switched_off(**changes: Any) -> AugmentationConfig:
    """Settings of all augmentations, off unless changed."""
    return AugmentationConfig(**(OFF | changes))


def variants() -> list[Any]:
    """One instance of each augmentation and mixing, switched on; several if its settings are a choice."""
    made = []
    for kind in discover():
        hints = get_type_hints(kind, include_extras=True)
        choices = [{}]
        settings = {}
        for field in fields(kind):
            annotation, *metadata = get_args(hints[field.name]) or (hints[field.name],)
            if get_origin(hints[field.name]) is Literal:
                annotation, metadata = hints[field.name], []
            limits = [one for one in metadata if isinstance(one, Range)]
            if get_origin(annotation) is Literal:
                choices = [{field.name: value} for value in get_args(annotation) if value != "none"]
            elif not field.default and limits:  # off by default: half of the maximum
                settings[field.name] = annotation(limits[0].maximum / 2)
        made += [kind(**settings, **choice) for choice in choices]
    assert all(one.enabled for one in made)
    return made


def variant_name(variant: Any) -> str:
    """`Flip-alternating`."""
    choices = [value for value in asdict(variant).values() if isinstance(value, str)]
    return "-".join([type(variant).__name__, *choices])


def random_for(
    augmentation: Any, num_images: int, *, seed: int = 0, epoch: int = 0, step: int = 0, rank: int = 0, ranks: int = 1
) -> BatchRandom:
    """The random numbers of an augmentation for one rank's part of a batch of all ranks."""
    images = np.arange(num_images)
    sampler = EpochSampler(images, batch_size=1, training=True, seed=seed, rank=rank, world_size=ranks)
    sampler.set_epoch(epoch)
    name = augmentation if isinstance(augmentation, str) else type(augmentation).__name__
    return BatchRandom(name, images[rank::ranks], sampler=sampler, step=step)


def tensors(parameters: Any) -> list[torch.Tensor]:
    """The tensors of random parameters."""
    return list(vars(parameters).values()) if is_dataclass(parameters) else [parameters]


def same_parameters(one: Any, other: Any) -> bool:
    """Whether two random parameters are equal."""
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
