import pytest
import torch
from installed_timm import TINY, TINY_TRANSFORMER, skip_without_timm
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from cifar100.config import ModelConfig, OptimizationConfig
from cifar100.errors import UserError
from cifar100.models import build_model
from cifar100.settings import load_config
from cifar100.training.optimization.muon import Muon
from cifar100.training.optimization.optimizers import build_optimizer


def model_with_a_frozen_layer() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def test_sgd_has_the_configured_settings() -> None:
    config = OptimizationConfig(optimizer="sgd", learning_rate="auto", momentum=0.8, nesterov=True, weight_decay=3e-4)
    optimizer = build_optimizer(nn.Linear(2, 2), config, 0.25)
    assert isinstance(optimizer, SGD)
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in ("lr", "momentum", "nesterov", "weight_decay", "dampening")} == {
        "lr": 0.25,
        "momentum": 0.8,
        "nesterov": True,
        "weight_decay": 3e-4,
        "dampening": 0,
    }


def test_adamw_takes_momentum_as_its_first_beta() -> None:
    config = OptimizationConfig(optimizer="adamw", momentum=0.85, weight_decay=0.05)
    optimizer = build_optimizer(nn.Linear(2, 2), config, 1e-3)
    assert isinstance(optimizer, AdamW)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.85, 0.999), 0.05)


def test_muon_takes_the_convolutions_and_sgd_the_rest() -> None:
    config = OptimizationConfig(optimizer="muon", muon_learning_rate=0.2, muon_momentum=0.5, weight_decay=3e-4)
    optimizer = build_optimizer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), config, 0.25)
    assert isinstance(optimizer, Muon)
    filters, others = optimizer.param_groups
    assert [len(group["params"]) for group in (filters, others)] == [1, 3]
    assert (filters["lr"], filters["momentum"], filters["orthogonal"]) == (0.2, 0.5, True)
    assert (others["lr"], others["momentum"], others["weight_decay"]) == (0.25, 0.9, 3e-4)
    assert not others["orthogonal"]


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_all_trainable_parameters_are_stepped_and_frozen_ones_are_not(name: str) -> None:
    model = model_with_a_frozen_layer()
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = build_optimizer(model, OptimizationConfig(optimizer=name, weight_decay=0.1), 0.1)
    model(torch.randn(5, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {"1.weight", "1.bias", "2.weight", "3.weight", "3.bias", "5.weight", "5.bias"}


def test_muon_without_a_convolution_to_train_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3).requires_grad_(False), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"^--optimization.optimizer muon is .* Sequential has none .*; use .* sgd\.$"):
        build_optimizer(network, OptimizationConfig(optimizer="muon"), 0.1)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_reaches_batch_norm_and_biases(name: str) -> None:
    model = nn.BatchNorm1d(3)
    nn.init.ones_(model.bias)
    config = OptimizationConfig(optimizer=name, weight_decay=0.1, momentum=0, nesterov=False)
    optimizer = build_optimizer(model, config, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight, torch.full((3,), 0.95))
    torch.testing.assert_close(model.bias, torch.full((3,), 0.95))


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_weight_decay_can_be_kept_from_batch_norm_and_biases(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    config = OptimizationConfig(optimizer=name, weight_decay=0.1, weight_decay_on="weights")
    groups = [group for group in build_optimizer(model, config, 0.5).param_groups if not group.get("orthogonal")]
    decays = {parameter: group["weight_decay"] for group in groups for parameter in group["params"]}
    expected = {"0.weight": 0.1, "3.weight": 0.1} | dict.fromkeys(("0.bias", "1.weight", "1.bias", "3.bias"), 0.0)
    if name == "muon":
        del expected["0.weight"]  # has none
    assert {key: decays[value] for key, value in model.named_parameters() if value in decays} == expected


@pytest.mark.parametrize("nesterov", [True, False])
def test_decoupled_weight_decay_is_that_of_the_paper(nesterov: bool) -> None:
    config = OptimizationConfig(
        optimizer="sgd", weight_decay=0.02, momentum=0.9, nesterov=nesterov, decoupled_weight_decay=True
    )
    model = nn.Linear(3, 2)
    weight, momentum = model.weight.detach().clone(), torch.zeros(2, 3)
    optimizer = build_optimizer(model, config, 0.5)
    for step, rate in enumerate((0.5, 0.25, 0.1)):
        optimizer.param_groups[0]["lr"] = rate  # as a schedule does
        gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(step))

        def closure(gradient: Tensor = gradient, before: Tensor = weight) -> Tensor:
            torch.testing.assert_close(model.weight.detach(), before)  # not decayed yet
            model.weight.grad, model.bias.grad = gradient.clone(), torch.zeros(2)
            return gradient.sum()

        assert optimizer.step(closure) == gradient.sum()
        momentum = 0.9 * momentum + gradient
        direction = gradient + 0.9 * momentum if nesterov else momentum
        weight = (1 - rate * 0.02) * weight - rate * direction
        torch.testing.assert_close(model.weight.detach(), weight)
    assert optimizer.param_groups[0]["weight_decay"] == 0.02


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_decoupled_weight_decay_is_for_sgd(name: str) -> None:
    with pytest.raises(
        UserError,
        match=r"--optimization\.decoupled_weight_decay true has no effect: it needs --optimization.optimizer sgd",
    ):
        load_config("baseline", overrides={"optimization.optimizer": name, "optimization.decoupled_weight_decay": True})


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_on_cuda(name: str) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2).cuda(), OptimizationConfig(optimizer=name), 0.1)
    assert optimizer.param_groups[0]["fused"] is True


def small_resnet() -> nn.Module:
    with torch.device("meta"):
        return build_model(ModelConfig(name="resnet18"), 10)


def test_layer_decay_lowers_the_rate_from_the_classifier_to_the_input() -> None:
    model = small_resnet()
    config = OptimizationConfig(optimizer="adamw", layer_decay=0.5, weight_decay=0.1)
    groups = build_optimizer(model, config, 0.4).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    named = dict(model.named_parameters())
    assert groups[0]["lr"] == 0.4  # the logged learning rate is that of the first group
    assert [rates[id(named[name])] for name in ("fc.weight", "layer4.1.bn2.weight", "layer4.0.conv1.weight")] == [
        pytest.approx(0.4),
        pytest.approx(0.2),
        pytest.approx(0.1),
    ]
    assert rates[id(named["conv1.weight"])] == pytest.approx(0.4 * 0.5**9)
    assert len(rates) == len(named)
    assert [group["lr_scale"] for group in groups] == [pytest.approx(0.5**layer) for layer in range(10)]


def test_layer_decay_leaves_out_what_is_frozen_and_respects_weight_decay_on() -> None:
    model = small_resnet()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("layer4", "fc")))
    config = OptimizationConfig(optimizer="sgd", layer_decay=0.5, weight_decay=0.1, weight_decay_on="weights")
    groups = build_optimizer(model, config, 0.4).param_groups
    assert [(group["lr_scale"], group["weight_decay"]) for group in groups] == [
        *((1.0, 0.1), (1.0, 0.0)),
        *((0.5, 0.1), (0.5, 0.0)),
        *((0.25, 0.1), (0.25, 0.0)),
    ]


def test_layer_decay_is_not_for_muon() -> None:
    with pytest.raises(UserError, match=r"layer_decay 0.5 has no effect: it needs .*optimizer sgd or adamw"):
        load_config("fast", overrides={"optimization.layer_decay": 0.5})


@pytest.mark.parametrize("name", [TINY, TINY_TRANSFORMER])
def test_the_rates_of_a_network_of_timm_are_timms(name: str) -> None:
    skip_without_timm()
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), 10)
    config = OptimizationConfig(optimizer="adamw", layer_decay=0.75, weight_decay=0.1)
    ours = build_optimizer(model, config, 0.4).param_groups
    theirs = param_groups_layer_decay(model, layer_decay=0.75)
    expected = {id(weight): 0.4 * group["lr_scale"] for group in theirs for weight in group["params"]}
    assert {id(weight): group["lr"] for group in ours for weight in group["params"]} == pytest.approx(expected)
