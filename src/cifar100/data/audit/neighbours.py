"""Exact nearest neighbours by the cosine of features, in parts of constant memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_QUERIES = 500
"""Rows of similarities that are computed at once: 120 MB for 60,000 keys."""


def unit_features(features: Tensor, *, centre: Tensor | None = None) -> Tensor:
    """Return features of length 1 around their mean, so that a product of two is a cosine.

    Activations are rarely negative: without centring all cosines would be high. A feature vector at the centre stays 0.

    features: float32 (N, D). centre: float32 (D,); the default is their mean.
    """
    centred = features - (features.mean(dim=0) if centre is None else centre)
    return torch.nn.functional.normalize(centred, dim=1)


def nearest(
    queries: Tensor,
    keys: Tensor,
    *,
    count: int,
    first_is_self: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Tensor, Tensor]:
    """Return the cosines and the indices of the nearest keys of each query, the nearest first.

    Args:
        queries: float32 (Q, D), of length 1.
        keys: float32 (K, D), of length 1.
        count: number of neighbours; fewer if there are fewer keys.
        first_is_self: whether query i is key i, which then is no neighbour of itself.
        advance: called with the number of queries just compared.

    Returns float32 (Q, count) and int64 (Q, count).
    """
    count = min(count, len(keys) - first_is_self)
    cosines, indices = [torch.empty(0, count)], [torch.empty(0, count, dtype=torch.int64)]
    for start in range(0, len(queries), _QUERIES):
        similarities = queries[start : start + _QUERIES] @ keys.T
        if first_is_self:
            own = torch.arange(len(similarities))
            similarities[own, start + own] = -torch.inf
        values, places = similarities.topk(count)
        cosines.append(values)
        indices.append(places)
        advance(len(similarities))
    return torch.cat(cosines), torch.cat(indices)
