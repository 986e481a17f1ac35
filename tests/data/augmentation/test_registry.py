"""Every file of the package is found; one more file is one more augmentation."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import asdict, fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from augmentation_variants import random_for, switched_off, variants

from cifar100 import setting_types
from cifar100.config import AugmentationConfig
from cifar100.data import augmentation as package
from cifar100.data.augmentation.base import Augmentation, Mixing
from cifar100.data.augmentation.registry import build_augmentations, build_mixings, discover


def names(augmentations):
    return [type(one).__name__ for one in augmentations]


def test_augmentations_come_in_their_order():
    found = [kind.__name__ for kind in discover() if issubclass(kind, Augmentation)]
    assert found == ["Crop", "Flip", "Affine", "Policy", "Cutout", "RandomErasing"]
    assert [kind.__name__ for kind in discover() if issubclass(kind, Mixing)] == ["Mixup", "CutMix"]


def test_only_what_is_switched_on_is_built():
    assert names(build_augmentations(AugmentationConfig())) == ["Crop", "Flip"]
    assert build_augmentations(switched_off()) == build_mixings(switched_off()) == []
    for variant in variants():
        settings = switched_off(**asdict(variant))
        assert [*build_augmentations(settings), *build_mixings(settings)] == [variant]


def test_settings_are_those_of_the_configuration():
    declared = {field.name: field.default for kind in discover() for field in fields(kind)}
    assert declared == asdict(AugmentationConfig())
    assert sum(len(fields(kind)) for kind in discover()) == len(declared)  # no name twice


@pytest.mark.parametrize("kind", discover(), ids=lambda kind: kind.__name__)
def test_settings_can_be_read_without_importing_the_file(kind):
    tree = ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    (definition,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    settings = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
    assert [node.target.id for node in settings] == [field.name for field in fields(kind)]
    for node in settings:
        ast.literal_eval(node.value)
        eval(ast.unparse(node.annotation), vars(setting_types))
        docstring = definition.body[definition.body.index(node) + 1]
        assert isinstance(ast.literal_eval(docstring.value), str)


BRIGHTEN = '''
from dataclasses import dataclass

import torch

from cifar100.data.augmentation.base import Augmentation
from cifar100.setting_types import Probability


@dataclass(frozen=True, kw_only=True)
class Brighten(Augmentation):
    """Make some images white."""

    order = 25

    brighten_probability: Probability = 0.0
    """Probability that an image becomes white."""

    @property
    def enabled(self):
        return self.brighten_probability > 0

    def draw(self, random):
        return random.uniform() < self.brighten_probability

    def apply(self, images, parameters):
        return torch.where(parameters.view(-1, 1, 1, 1), 255, images)
'''


@pytest.fixture
def one_more_file(tmp_path, monkeypatch):
    (tmp_path / "brighten.py").write_text(BRIGHTEN)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield
    sys.modules.pop("cifar100.data.augmentation.brighten")
    del package.brighten


@pytest.mark.usefixtures("one_more_file")
def test_one_more_file_is_found_and_applied_in_its_place(images):
    settings = switched_off(flip="random", shift=0.1, brighten_probability=0.5)
    built = build_augmentations(settings)
    assert names(built) == ["Flip", "Brighten", "Affine"]
    changed = built[1].apply(images, built[1].draw(random_for(built[1], len(images))))
    white = (changed == 255).flatten(1).all(dim=1)
    assert 0 < white.sum() < len(images)
    assert torch.equal(changed[~white], images[~white])


@pytest.mark.usefixtures("one_more_file")
def test_a_setting_that_is_missing_is_an_error():
    with pytest.raises(AttributeError, match="brighten_probability"):
        build_augmentations(SimpleNamespace(**asdict(AugmentationConfig())))
