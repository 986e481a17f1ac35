from __future__ import annotations

import numpy as np
import pytest
from photographs import photographs

from cifar100.data.audit.images import AuditedImages
from cifar100.data.dataset_info import DatasetInfo


@pytest.fixture
def images() -> AuditedImages:
    """Six training and four test images of the classes `=cat` and `<b>dog</b>`."""
    info = DatasetInfo(
        name="pets",
        origin="custom",
        class_names=("=cat", "<b>dog</b>"),
        superclass_names=(),
        class_to_superclass=(),
        num_train=6,
        num_test=4,
        sha256={},
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    files = [f"train/{index}.png" for index in range(6)] + [f"test/{index}.png" for index in range(4)]
    files[2] = "-train/2.png"
    return AuditedImages(info=info, pixels=photographs(10), labels=np.arange(10) % 2, files=files)
