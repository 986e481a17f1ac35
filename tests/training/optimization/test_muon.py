import copy

import pytest
import torch
from torch import Tensor, nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.training.optimization.muon import QUINTIC, Muon, muon_groups, orthogonalise, orthogonalise_all


def quintic_of_singular_values(matrix: Tensor, num_steps: int) -> Tensor:
    """The iteration by its definition: a scalar polynomial of each singular value, in float64."""
    a, b, c = QUINTIC
    u, s, vh = torch.linalg.svd(matrix.double() / matrix.double().norm(), full_matrices=False)
    for _ in range(num_steps):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vh


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8), (1, 9), (9, 1)])
def test_orthogonalise_equals_its_definition(shape: tuple[int, int]) -> None:
    matrices = random(3, *shape)
    results = orthogonalise(matrices, num_steps=3)
    for matrix, result in zip(matrices, results, strict=True):
        torch.testing.assert_close(result.double(), quintic_of_singular_values(matrix, 3), rtol=1e-4, atol=1e-5)


def test_singular_values_come_near_one() -> None:
    singular_values = torch.linalg.svdvals(orthogonalise(random(4, 16, 40), num_steps=6))
    assert singular_values.min() > 0.65
    assert singular_values.max() < 1.25


def test_zero_stays_zero() -> None:
    assert torch.equal(orthogonalise(torch.zeros(2, 3, 4), num_steps=3), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batched_by_shape_equals_one_by_one(memory_format: torch.memory_format) -> None:
    shapes = [(8, 4, 3, 3), (4, 9, 2, 2), (8, 4, 3, 3), (8, 9, 2, 2), (16, 8, 1, 1)]
    tensors = [random(*shape, seed=seed).to(memory_format=memory_format) for seed, shape in enumerate(shapes)]
    for tensor, result in zip(tensors, orthogonalise_all(tensors, num_steps=3), strict=True):
        expected = quintic_of_singular_values(tensor.flatten(1), 3).reshape(tensor.shape)
        torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_step_equals_the_plain_reference() -> None:
    weights = [nn.Parameter(random(6, 4, 3, 3, seed=seed)) for seed in (0, 1)]
    expected = [weight.detach().clone() for weight in weights]
    momenta = [torch.zeros_like(weight) for weight in expected]
    optimizer = Muon(weights, lr=0.2, momentum=0.6, newton_schulz_steps=3)
    for step in range(3):
        for index, weight in enumerate(weights):
            gradient = random(6, 4, 3, 3, seed=10 * step + index)
            weight.grad = gradient.clone()
            momenta[index] = 0.6 * momenta[index] + gradient
            direction = gradient + 0.6 * momenta[index]
            update = quintic_of_singular_values(direction.flatten(1), 3).reshape(6, 4, 3, 3).float()
            expected[index] = expected[index] * (6**0.5 / expected[index].norm()) - 0.2 * update
        optimizer.step()
    for weight, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=1e-4, atol=1e-5)


def test_other_parameters_are_stepped_as_by_torchs_sgd() -> None:
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": ours.parameters(), "orthogonal": False}], lr=0.1, momentum=0.8, weight_decay=0.01)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01)
    for step in range(4):
        for model, optimizer in ((ours, muon), (theirs, sgd)):
            optimizer.zero_grad()
            model(random(7, 5, seed=step)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_groups_share_out_all_trainable_parameters() -> None:
    model = build_model(ModelConfig(name="fast_net", widths=(8, 8, 8)), 10)
    filters, others = muon_groups(model, lr=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in filters["params"]} == {f"stage{s}.conv{c}.weight" for s in (1, 2, 3) for c in (1, 2)}
    assert {names[id(p)] for p in others["params"]} == {
        "head.weight",
        "whitening.bias",
        *(f"stage{s}.bn{n}.bias" for s in (1, 2, 3) for n in (1, 2)),
    }
    optimizer = Muon([filters, others], lr=0.1)
    assert [(group["lr"], group["orthogonal"]) for group in optimizer.param_groups] == [(0.1, True), (0.5, False)]


def test_trains_and_resumes_exactly() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(name="fast_net", widths=(8, 16, 16)), 4)
    optimizer = Muon(muon_groups(model, lr=1.0), lr=0.1)
    images, labels = random(32, 3, 16, 16), torch.arange(32) % 4

    def train(network: nn.Module, optimizer: Muon, num_steps: int) -> list[float]:
        losses = []
        for _ in range(num_steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    losses = train(model, optimizer, 20)
    assert losses[-1] < losses[0] / 2
    resumed = copy.deepcopy(model)
    resumed_optimizer = Muon(muon_groups(resumed, lr=9.0), lr=9.0)
    resumed_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch would share the momentum
    assert train(model, optimizer, 3) == train(resumed, resumed_optimizer, 3)


def test_step_returns_the_loss_of_its_closure() -> None:
    weight = nn.Parameter(random(2, 2, 1, 1))

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    expected = weight.square().sum().item()
    assert Muon([weight], lr=0.1).step(closure) == expected
    assert Muon([nn.Parameter(torch.zeros(2, 2, 1, 1))], lr=0.1).step() is None  # no gradient, nothing to do
