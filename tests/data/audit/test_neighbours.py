"""The search in parts against a sort of all similarities."""

from __future__ import annotations

import torch
from torch.nn.functional import cosine_similarity

from cifar100.data.audit.neighbours import nearest, unit_features


def test_the_nearest_are_those_of_a_full_sort() -> None:
    features = unit_features(torch.randn(1200, 8, generator=torch.manual_seed(0)))
    cosines, indices = nearest(features, features, count=5, first_is_self=True)
    for query in (0, 499, 500, 1199):
        similar = cosine_similarity(features[query], features, dim=1)
        similar[query] = -2
        expected = similar.sort(descending=True)
        torch.testing.assert_close(cosines[query], expected.values[:5])
        assert indices[query].tolist() == expected.indices[:5].tolist()


def test_few_keys_have_few_neighbours() -> None:
    features = unit_features(torch.randn(3, 8))
    assert nearest(features, features, count=5, first_is_self=True)[0].shape == (3, 2)
    assert nearest(features, features[:1], count=5)[1].tolist() == [[0], [0], [0]]


def test_features_are_centred_and_a_constant_one_stays_finite() -> None:
    features = torch.rand(50, 4) + 10
    assert unit_features(features).sum(dim=1).abs().max() < 2
    assert unit_features(torch.ones(3, 4)).tolist() == [[0] * 4] * 3
