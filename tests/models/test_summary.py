import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model
from cifar100.models.summary import count_parameters, model_table, mult_adds


@pytest.fixture
def model() -> nn.Module:
    """A network in the middle of training: gradients, a frozen part, one layer in another mode than the rest."""
    model = build_model(ModelConfig(name="fast_net", widths=(8, 8, 8)), 10)
    model.train()
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    model.stage1.bn1.eval()
    return model


def test_leaves_the_network_as_it_was(model: nn.Module) -> None:
    state = copy.deepcopy(model.state_dict())  # with the batch-norm statistics
    gradients = {key: None if p.grad is None else p.grad.clone() for key, p in model.named_parameters()}
    identities = {key: id(parameter) for key, parameter in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]

    model_table(model)
    mult_adds(model)

    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for key, parameter in model.named_parameters():
        assert id(parameter) == identities[key]
        assert parameter.device.type == "cpu"
        assert (parameter.grad is None) == (gradients[key] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, gradients[key])
    assert [module.training for module in model.modules()] == modes
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()] == hooks


def test_leaves_the_random_state_as_it_was(model: nn.Module) -> None:
    before = torch.get_rng_state()
    model_table(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_does_not_keep_the_network_alive(model: nn.Module) -> None:
    short_lived = copy.deepcopy(model)
    model_table(short_lived)
    watched = weakref.ref(short_lived.head.weight)
    del short_lived
    gc.collect()
    assert watched() is None


def test_prints_nothing(model: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    model_table(model)
    assert capsys.readouterr() == ("", "")


def test_a_model_in_any_memory_format_and_precision(model: nn.Module) -> None:
    expected = model_table(model)
    assert model_table(copy.deepcopy(model).to(memory_format=torch.channels_last)) == expected


def test_shows_the_size_and_batch_asked_for(model: nn.Module) -> None:
    assert "[5, 8, 11, 11]" in model_table(model, image_shape=(3, 24, 24), batch_size=5)


def test_counts_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 8 * 8, 5, bias=False))
    model[0].weight.requires_grad_(False)
    assert count_parameters(model) == 4 * 3 * 9 + 4 * 64 * 5
    assert mult_adds(model, image_shape=(3, 8, 8)) == 8 * 8 * (4 * 3 * 9) + 4 * 64 * 5


@pytest.mark.gpu
def test_a_network_on_a_gpu_stays_there_and_one_on_the_cpu_too(model: nn.Module) -> None:
    model_table(model)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    model.cuda()
    model_table(model)
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
