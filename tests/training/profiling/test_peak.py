from __future__ import annotations

import torch

from cifar100.training.profiling.peak import MatrixProduct


def test_the_product_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    product = MatrixProduct(torch.device("cpu"), torch.float32, side=64)
    assert product.flops == 2 * 64**3 * 2
    assert product.flops_per_second() > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert product.description.startswith("float32 product of 64 x 64 matrices as ")


def test_the_operations_are_counted_for_both_forms() -> None:
    product = MatrixProduct(torch.device("cpu"), torch.float32, side=16)
    expected = product.matrix @ product.matrix.T  # a filter is a row of the matrix
    found = product._convolution().permute(0, 2, 3, 1).reshape(16, 16)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(product._plain(), product.matrix @ product.matrix)
