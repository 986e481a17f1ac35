"""The networks of timm."""

from __future__ import annotations

import functools
import http.server
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from installed_timm import TINY, TINY_TRANSFORMER, skip_without_timm

skip_without_timm()

import huggingface_hub.constants  # noqa: E402
import safetensors.torch  # noqa: E402
import timm  # noqa: E402

from cifar100.cli.main import run_command_line  # noqa: E402
from cifar100.commands import list_models  # noqa: E402
from cifar100.config import ModelConfig  # noqa: E402
from cifar100.errors import UserError  # noqa: E402
from cifar100.models import build_model  # noqa: E402
from cifar100.models.summary import count_parameters, model_info  # noqa: E402
from cifar100.models.timm_networks import native_input, published_weights  # noqa: E402


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/efficientnet_lite0", "timm/vit_tiny_patch16_224"])
def test_a_network_is_that_of_timm(name: str) -> None:
    torch.manual_seed(0)
    ours = build_model(ModelConfig(name=name), 10)
    torch.manual_seed(0)
    theirs = timm.create_model(name.removeprefix("timm/"), num_classes=10)
    assert type(ours) is type(theirs)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_the_stem_is_not_changed_for_small_images() -> None:
    assert build_model(ModelConfig(name="timm/resnet18"), 10).conv1.stride == (2, 2)


def test_arguments_reach_timm() -> None:
    network = build_model(ModelConfig(name=TINY, arguments=("drop_rate=0.25", "global_pool=max")), 10)
    assert network.drop_rate == 0.25
    assert network.global_pool.pool_type == "max"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="timm/resnet81"), r"timm has no network 'resnet81'; did you mean timm/resnet\w*\?"),
        (ModelConfig(name="timm/qqqqqqqq"), r"timm has no network 'qqqqqqqq'\. List them: cifar100 models"),
        (ModelConfig(name="timm/hf-hub:user/net"), "timm has no network 'hf-hub:user/net'"),
        (ModelConfig(name="timm/resnet18.a9_in1k"), r"no weights 'a9_in1k' of resnet18; it has .*a1_in1k"),
        (ModelConfig(name=TINY, arguments=("colour=red",)), r"\[colour=red\] \(.*unexpected keyword argument 'colour'"),
        (ModelConfig(name=TINY, arguments=("drop_rate",)), "has 'drop_rate', but each must be NAME=VALUE"),
        (ModelConfig(name=TINY, arguments=("num_classes=3",)), "has 'num_classes=3', but each"),
    ],
)
def test_what_timm_does_not_have_is_one_line(config: ModelConfig, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        build_model(config, 10)
    assert "\n" not in str(raised.value)


def test_what_the_weights_expect() -> None:
    native = native_input("timm/tf_efficientnet_lite0")
    assert (native.mean, native.std, native.side) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224)
    assert native.is_published
    assert not native.is_fixed
    assert native_input("timm/vit_tiny_patch16_224").is_fixed


@pytest.mark.parametrize("name", [TINY, TINY_TRANSFORMER])
def test_a_network_can_be_built_without_memory(name: str) -> None:
    with torch.device("meta"):
        network = build_model(ModelConfig(name=name), 10)
    assert count_parameters(network) == count_parameters(build_model(ModelConfig(name=name), 10))


def test_the_layer_table_counts_a_network_of_timm() -> None:
    info = model_info(build_model(ModelConfig(name=TINY), 10), image_shape=(3, 160, 160))
    assert "Mult-adds of the convolutions and matrix products, one image: " in info


def test_models_lists_the_networks_of_timm_that_match(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["models", "timm/tf_efficientnet_lite[01]"])
    lines = capsys.readouterr().out.splitlines()
    first = next(line.split() for line in lines if line.startswith("timm/tf_efficientnet_lite0"))
    assert first[1:] == ["3.50", "M", "384", "M", "224", "published"]
    assert sum(line.startswith("timm/") for line in lines) == 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("resnet*", "it must begin with timm/"),
        ("timm/qqq*", "no network like timm/qqq"),
        ("timm/*", r"timm has [\d,]+ networks like timm/\*, but at most 40 can be listed at once"),
    ],
)
def test_a_pattern_that_lists_nothing_useful_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list_models(pattern)


def test_listing_does_not_change_the_random_state() -> None:
    before = torch.get_rng_state()
    list_models(TINY)
    assert torch.equal(torch.get_rng_state(), before)


class Hub(http.server.SimpleHTTPRequestHandler):
    """Answers for a file as the hub does: by its commit, its hash and its size."""

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"0123456789abcdef"')
        super().end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub on loopback; yields the folder that it serves."""
    served = tmp_path / "hub"
    served.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_endpoint(f"http://127.0.0.1:{server.server_port}", tmp_path, monkeypatch)
    yield served
    server.shutdown()
    server.server_close()


def use_endpoint(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the hub's client to an address; it reads its settings when it is imported."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(cache / "cache"),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    file_download = importlib.import_module("huggingface_hub.file_download")
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


def test_published_weights_come_from_the_hub_or_from_its_cache(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    trained = timm.create_model("test_efficientnet")
    folder = hub / "timm/test_efficientnet.r160_in1k/resolve/main"
    folder.mkdir(parents=True)
    safetensors.torch.save_file(trained.state_dict(), folder / "model.safetensors")
    weights = published_weights(ModelConfig(name=TINY))
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())
    use_endpoint(f"http://127.0.0.1:{closed_port()}", tmp_path, monkeypatch)  # now from the cache
    weights = published_weights(ModelConfig(name=TINY))
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())


def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_without_a_connection_one_line_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(f"http://127.0.0.1:{closed_port()}", tmp_path, monkeypatch)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"the weights of timm/test_efficientnet cannot be fetched .* FILE$") as raised:
        published_weights(ModelConfig(name=TINY))
    assert time.monotonic() - started < 8  # its client would retry for 45 s
    assert "\n" not in str(raised.value)


def test_a_network_without_published_weights_is_named() -> None:
    with pytest.raises(UserError, match=r"timm publishes no weights for timm/\w+; (name one|leave out)"):
        published_weights(ModelConfig(name=unpublished()))


def unpublished() -> str:
    """Return a network without weights: which one it is changes with timm."""
    return next(f"timm/{name}" for name in timm.list_models() if not timm.models.is_model_pretrained(name))
