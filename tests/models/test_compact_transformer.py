import warnings

import pytest
import torch

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.models.compact_transformer import NUM_HEADS, WIDTH, Attention, CompactTransformer


@pytest.fixture(scope="module")
def model() -> CompactTransformer:
    torch.manual_seed(0)
    return CompactTransformer(num_classes=10).eval()


def test_attention_is_a_weighted_mean_of_values_in_each_head() -> None:
    torch.manual_seed(0)
    attention = Attention().eval()
    tokens = torch.randn(1, 5, WIDTH)
    queries, keys, values = (tokens[0] @ attention.queries_keys_values.weight.T).chunk(3, dim=1)
    size = WIDTH // NUM_HEADS
    heads = []
    for head in range(NUM_HEADS):
        part = slice(head * size, (head + 1) * size)
        weights = torch.softmax(queries[:, part] @ keys[:, part].T / size**0.5, dim=1)
        heads.append(weights @ values[:, part])
    expected = torch.cat(heads, dim=1) @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(attention(tokens)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_number_of_multiply_adds_is_the_papers() -> None:
    from cifar100.models import networks

    assert networks()["cct_7_3x1"].facts["mult_adds"] == pytest.approx(1.19e9, rel=0.01)


def test_positions_are_interpolated_at_another_resolution(model: CompactTransformer) -> None:
    assert torch.equal(model._positions(16, 16), model.positions)
    grid = model.positions.detach().unflatten(1, (16, 16))
    halved = model._positions(8, 8).unflatten(1, (8, 8))
    torch.testing.assert_close(halved[0, 0, 0], grid[0, :2, :2].mean((0, 1)))  # bilinear: the mean of four


def test_the_graph_for_tensorboard_is_traced_without_a_warning(model: CompactTransformer) -> None:
    with warnings.catch_warnings():
        # Of torch.jit.trace, which TensorBoard's writer calls; a FutureWarning from torch 2.15 on.
        warnings.filterwarnings("ignore", r"`torch\.jit\.trace")
        torch.jit.trace(model, torch.zeros(1, 3, 32, 32), check_trace=False)


def test_the_order_of_tokens_matters_through_the_positions_alone(model: CompactTransformer) -> None:
    images = torch.randn(2, 3, 32, 32)
    grid = model.tokenizer(images)
    tokens = grid.flatten(2).transpose(1, 2)
    shuffled = tokens[:, torch.randperm(256)]
    for layers in (model.layers, model.norm):
        tokens, shuffled = layers(tokens), layers(shuffled)
    torch.testing.assert_close(tokens.mean(1), shuffled.mean(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(images), model(images.flip(3)), atol=1e-4)


def test_the_probability_to_drop_rises_from_zero_as_in_the_authors_code() -> None:
    with torch.device("meta"):
        network = build_model(ModelConfig(name="cct_7_3x1"), 10)
    probabilities = [layer.drop_probability for layer in network.layers]
    assert probabilities == pytest.approx(torch.linspace(0, 0.1, 7).tolist())


def test_dropout_and_stochastic_depth_are_off_in_evaluation(model: CompactTransformer) -> None:
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
