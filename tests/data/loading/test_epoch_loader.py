"""A loader resumes mid-epoch with the batch that would have come next."""

from itertools import islice

import numpy as np
import pytest
import torch

from cifar100.data.loading.epoch_loader import EpochLoader
from cifar100.data.sampler import EpochSampler


def sampler():
    return EpochSampler(np.arange(100, 203), batch_size=10, training=True, seed=7)


class IndexLoader(EpochLoader):
    """Yields the indices themselves."""

    def _batches(self):
        for batch in self.sampler.batches()[self.sampler.first_step :]:
            yield torch.from_numpy(batch), torch.from_numpy(batch)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [images.tolist() for images, _ in loader]


def test_epoch_set_after_the_iterator_was_made_counts():
    loader = IndexLoader(sampler())
    iterator = iter(loader)
    loader.sampler.set_epoch(2)
    assert [images.tolist() for images, _ in iterator] == epoch_of(IndexLoader(sampler()), 2)


@pytest.mark.parametrize("step", [0, 1, 9])
def test_loader_resumes_mid_epoch(step):
    loader = IndexLoader(sampler())
    loader.sampler.set_epoch(1)
    list(islice(loader, step))
    state = loader.state_dict()

    resumed = IndexLoader(sampler())
    resumed.load_state_dict(state)
    assert epoch_of(resumed, 1) == epoch_of(IndexLoader(sampler()), 1)[step:]
    assert epoch_of(resumed, 2) == epoch_of(IndexLoader(sampler()), 2)


def test_position_in_one_epoch_says_nothing_about_another():
    loader = IndexLoader(sampler())
    loader.load_state_dict({"epoch": 1, "step": 4})
    assert len(epoch_of(loader, 2)) == 10
    assert len(epoch_of(loader, 1)) == 10


def test_finished_epoch_starts_again_from_its_beginning():
    loader = IndexLoader(sampler())
    epoch_of(loader, 1)
    assert loader.state_dict() == {"epoch": 1, "step": 10}
    resumed = IndexLoader(sampler())
    resumed.load_state_dict(loader.state_dict())
    assert epoch_of(resumed, 1) == epoch_of(loader, 1)
