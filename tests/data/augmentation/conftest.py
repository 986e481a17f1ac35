"""Images on which the augmentations are compared with other libraries."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


@pytest.fixture
def images() -> Tensor:
    """24 smooth images, on which an error of a fraction of a pixel is one of a few grey levels; the first is noise."""
    noise = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    smooth = F.interpolate(noise, size=(32, 32), mode="bilinear", align_corners=True).to(torch.uint8)
    smooth[0] = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(1))
    return smooth
