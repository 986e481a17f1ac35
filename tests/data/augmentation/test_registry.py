"""Every file of the package is found; one more file is one more augmentation."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from augmentation_variants import switched_off, variants

import cifar100
from cifar100.config import AugmentationConfig
from cifar100.config import types as setting_types
from cifar100.data.augmentation.base import Augmentation, Mixing
from cifar100.data.augmentation.registry import build_augmentations, build_mixings, discover


def names(augmentations):
    return [type(one).__name__ for one in augmentations]


def test_augmentations_come_in_their_order():
    found = [kind.__name__ for kind in discover() if issubclass(kind, Augmentation)]
    known = ["Crop", "Flip", "Affine", "Policy", "Cutout", "RandomErasing"]
    assert [name for name in found if name in known] == known
    mixings = [kind.__name__ for kind in discover() if issubclass(kind, Mixing)]
    assert [name for name in mixings if name in ("Mixup", "CutMix")] == ["Mixup", "CutMix"]


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
from cifar100.config.types import Probability


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


def test_one_more_file_is_one_more_augmentation(tmp_path):
    """In a copy of the package, with nothing else changed."""
    program = """
from cifar100.data.augmentation.registry import build_augmentations
from cifar100.settings import load_config
config = load_config("baseline", overrides={"augmentation.brighten_probability": "1", "augmentation.rotate": "9"})
built = build_augmentations(config.augmentation)
print([type(one).__name__ for one in built], built[2].brighten_probability)
"""
    package = shutil.copytree(Path(cifar100.__file__).parent, tmp_path / "cifar100")
    (package / "data" / "augmentation" / "brighten.py").write_text(BRIGHTEN)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments, expected in (
        (["-c", program], "['Crop', 'Flip', 'Brighten', 'Affine'] 1.0"),
        (["-m", "cifar100", "train", "--help"], "--augmentation.brighten_probability"),
    ):
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
        assert expected in done.stdout
