"""Devices and precisions that are missing or broken: `auto` uses the next device, an explicit wish is a UserError."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from cifar100 import devices
from cifar100.config import Config, TrainingConfig
from cifar100.devices import Accelerator, check_device, choose_accelerator, choose_precision, find_failure, resolve
from cifar100.environment import describe_devices
from cifar100.errors import UserError
from cifar100.settings import load_config


@pytest.fixture(autouse=True)
def forget_probes() -> Iterator[None]:
    devices.find_failure.cache_clear()
    devices._warn_once.cache_clear()
    yield
    devices.find_failure.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """Let torch report `cuda` CUDA devices, none of which works in these tests."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def break_devices(monkeypatch: pytest.MonkeyPatch, *broken: str) -> list[str]:
    """Let the first operation on the broken types fail as a driver does; return the list of probed devices.

    All other devices compute on the CPU.
    """
    probed: list[str] = []
    real_ones = torch.ones

    def ones(*size: int, device: torch.device) -> torch.Tensor:
        probed.append(str(device))
        if device.type in broken:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with ...")
        return real_ones(*size)

    monkeypatch.setattr(torch, "ones", ones)
    return probed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accelerator": "cuda"}, r"--training\.accelerator is cuda, but this machine has only cpu; use auto"),
        ({"accelerator": "cuda", "devices": 2}, r"--training\.accelerator is cuda"),
        ({"precision": "16-mixed"}, r"--training\.precision 16-mixed needs a GPU"),
        ({"precision": "bf16-mixed", "compile": "default"}, r"--training\.compile with bf16-mixed does not work"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(UserError, match=message):
        check_device(TrainingConfig(**{"accelerator": "cpu", **given}))


def test_a_cpu_uses_32_bits_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert choose_accelerator("auto") == "cpu"
    assert choose_precision("auto", "cpu") == "32-true"
    check_device(TrainingConfig(precision="bf16-mixed"))
    check_device(TrainingConfig(compile="default"))
    check_device(TrainingConfig(devices=4))


def test_a_gpu_with_bf16_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=1)
    break_devices(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_accelerator("auto") == "cuda"
    assert choose_precision("auto", "cuda") == "bf16-mixed"
    check_device(TrainingConfig(compile="default"))
    with pytest.raises(UserError, match=r"--training\.devices is 2, but this machine has 1 \(cuda\)"):
        check_device(TrainingConfig(devices=2))


def test_a_gpu_that_emulates_bf16_uses_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T4, for example, on which torch says that it supports bf16."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("auto", "cuda") == "32-true"


def test_auto_replaces_a_broken_gpu_by_the_cpu_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, cuda=1)
    probed = break_devices(monkeypatch, "cuda")
    assert [choose_accelerator("auto") for _ in range(3)] == ["cpu"] * 3
    assert capsys.readouterr().err == (
        "cifar100: cuda is present, but its first operation failed (CUDA error: no kernel image is available for "
        "execution on the device); using cpu.\n"
    )
    assert probed == ["cuda:0"]
    check_device(TrainingConfig())


def test_auto_tries_every_device(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, cuda=1, mps=True)
    break_devices(monkeypatch, "cuda")
    assert choose_accelerator("auto") == "mps"
    assert capsys.readouterr().err.endswith("using mps.\n")
    devices.find_failure.cache_clear()
    break_devices(monkeypatch, "cuda", "mps")
    assert choose_accelerator("auto") == "cpu"


def test_a_broken_gpu_that_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, cuda=1)
    break_devices(monkeypatch, "cuda")
    with pytest.raises(UserError, match=r"is cuda, but its first operation failed \(CUDA error: .*\); use cpu\.$"):
        choose_accelerator("cuda")
    assert choose_accelerator("cpu") == "cpu"
    assert capsys.readouterr().err == ""


def test_a_gpu_that_computes_nonsense_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=1)
    monkeypatch.setattr(torch, "ones", lambda *size, device: torch.zeros(*size))
    assert find_failure("cuda") == "the result is 0.0, expected 216.0"
    assert choose_accelerator("auto") == "cpu"


@pytest.mark.parametrize(
    ("variables", "device"),
    [
        ({}, "cuda:0"),
        ({"LOCAL_RANK": "3"}, "cuda:3"),
        ({"SLURM_LOCALID": "2"}, "cuda:2"),
        ({"LOCAL_RANK": "5"}, "cuda:1"),
    ],
)
def test_each_rank_probes_its_own_gpu(variables: dict[str, str], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=4)
    probed = break_devices(monkeypatch)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_failure("cuda") == ""
    assert set(probed) == {device}


def test_a_further_accelerator_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    break_devices(monkeypatch)
    monkeypatch.setitem(devices.ACCELERATORS, "xpu", Accelerator(lambda: 2, lambda index: f"Arc {index}"))
    assert choose_accelerator("auto") == "xpu"
    assert describe_devices()["xpu"] == "Arc 0, Arc 1"
    with pytest.raises(UserError, match=r"--training\.devices is 3, but this machine has 2 \(xpu\)"):
        check_device(TrainingConfig(devices=3))


@pytest.mark.gpu
def test_the_probe_works_on_a_real_gpu() -> None:
    assert find_failure("cuda") == ""


@pytest.fixture
def bf16_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(devices, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(devices, "usable_processors", lambda: 6)


def automatic(**changes: Any) -> Config:
    return load_config(overrides={"training.devices": "auto", "data.batch_size": 512, **changes})


def decided(config: Config) -> tuple[Any, int, str]:
    return config.training.devices, config.data.batch_size, config.training.precision


def test_one_process_for_each_processor_with_bfloat16_instructions(bf16_processors: None) -> None:
    assert decided(resolve(automatic())) == (4, 128, "bf16-mixed")  # the largest divisor of 512 up to 6
    assert decided(resolve(automatic(**{"data.batch_size": 180}))) == (2, 90, "bf16-mixed")  # 3 would have 60 images
    assert decided(resolve(automatic(**{"data.batch_size": 64}))) == (1, 64, "auto")


def test_one_process_where_several_gain_nothing_or_cannot_be_started(
    bf16_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = (1, 512, "auto")
    assert decided(resolve(automatic(), may_start_processes=False)) == alone
    assert decided(resolve(automatic(**{"training.precision": "32-true"}))) == (1, 512, "32-true")
    with monkeypatch.context() as patch:
        patch.setattr(devices, "has_bf16_instructions", lambda: False)
        assert decided(resolve(automatic())) == alone
    with monkeypatch.context() as patch:
        patch.setenv("TORCHELASTIC_RUN_ID", "1")
        assert decided(resolve(automatic())) == alone
    with monkeypatch.context() as patch:
        patch.setattr(devices, "choose_accelerator", lambda wanted: "cuda")
        assert decided(resolve(automatic())) == alone


def test_a_given_number_of_devices_is_kept(bf16_processors: None) -> None:
    config = load_config(overrides={"training.devices": 2})
    assert resolve(config) is config
