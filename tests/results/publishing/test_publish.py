"""A published network: what its files hold, what they do not, and that they are used as the run is."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable_runs import write_exportable
from hub_stub import HubStub, Repository
from huggingface_hub import ModelCard
from photographs import photographs
from PIL import Image
from safetensors.torch import load_file

from cifar100 import commands
from cifar100.data.folder.image_files import encode_png
from cifar100.errors import UserError
from cifar100.results.exported.untrusted_onnx import MAX_FILE_BYTES
from cifar100.results.publishing import hub as hub_module
from cifar100.results.publishing.hub_name import HubName, hub_name
from cifar100.runs.folder import RunFolder
from cifar100.settings import load_config

FILES = {"README.md", "config.json", "model.onnx", "model.safetensors", "training_settings.yaml"}


@pytest.fixture(scope="module")
def folder(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "net"
    published = commands.publish(run, to=path, license="mit")
    assert (published.where, set(published.files)) == (path.as_posix(), FILES)
    return path


@pytest.fixture
def exported_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing takes the files of `folder`. To export them takes seconds, and these tests are about the Hub."""

    def copy(run: RunFolder, target: Path, *_: Any, **__: Any) -> dict[str, int]:
        shutil.copytree(folder, target, dirs_exist_ok=True)
        return {path.name: path.stat().st_size for path in sorted(target.iterdir())}

    monkeypatch.setattr("cifar100.results.publishing.publish.write_files", copy)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(photographs(1, seed=7)[0]))
    return path


def test_the_folder_predicts_as_the_calibrated_run(run: RunFolder, folder: Path, picture: Path) -> None:
    (found,), (expected,) = commands.predict(folder, [picture]), commands.predict(run, [picture], calibrated=True)
    assert [each.name for each in found.classes] == [each.name for each in expected.classes]
    probabilities = [[each.probability for each in one.classes] for one in (found, expected)]
    np.testing.assert_allclose(*probabilities, atol=1e-5)


def test_the_files_hold_the_weights_the_classes_and_the_settings(run: RunFolder, folder: Path) -> None:
    trained = commands.load_model(run)
    weights = load_file(folder / "model.safetensors")
    for name, value in trained.network.state_dict().items():
        assert torch.equal(weights[name], value.cpu())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert tuple(config["id2label"][str(label)] for label in range(100)) == trained.info.class_names
    assert config["cifar100"]["temperature"] != 1
    settings = load_config(files=folder / "training_settings.yaml")
    assert settings.model == load_config(files=run.config).model
    assert settings.data.root == Path("dataset")


def test_nothing_names_this_machine(folder: Path, tiny_data: Path, run: RunFolder) -> None:
    for file in folder.iterdir():
        content = file.read_bytes()
        for path in (tiny_data, run.path.parent, Path.home()):
            assert str(path).encode() not in content


def test_the_hub_s_client_reads_the_card(run: RunFolder, folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "image-classification")
    assert card.data.datasets is None  # Shapes-100 is not on the Hub
    measured = json.loads(run.evaluation("test").read_text())["metrics"]
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["accuracy"].metric_value == round(measured["accuracy"]["value"], 4)
    assert results["accuracy"].dataset_split == "test"
    assert "cifar100 predict FOLDER photo.jpg" in card.text


def test_the_program_in_the_card_reads_a_photograph_as_predict_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "model.onnx", "model.onnx")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by the camera
    pixels = np.ascontiguousarray(photographs(1, seed=7)[0].transpose(1, 2, 0))
    Image.fromarray(pixels).resize((64, 48)).save("photo.jpg", exif=exif)
    names: dict[str, Any] = {}
    exec(program, names)
    (expected,) = commands.predict(folder, ["photo.jpg"], probabilities=True)
    assert expected.probabilities is not None
    np.testing.assert_allclose(names["probabilities"][0], list(expected.probabilities.values()), atol=0.01)


def test_a_run_that_was_not_measured_has_no_figures(tiny_data: Path, tmp_path: Path) -> None:
    run = write_exportable(tmp_path / "new", tiny_data, **{"data.source": "private/photographs"})
    commands.publish(run, to=tmp_path / "published")
    card = ModelCard.load(tmp_path / "published" / "README.md")
    assert card.data.eval_results is None
    assert "Accuracy: not measured" in card.text
    assert "Licence of the weights: not stated" in card.text
    settings = tmp_path / "published" / "training_settings.yaml"
    assert load_config(files=settings).data.source == "download"  # not the path
    assert "private" not in settings.read_text("utf-8")


def test_a_folder_with_files_is_never_overwritten_and_a_failure_leaves_nothing(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists and is never overwritten"):
        commands.publish(run, to=tmp_path)
    with pytest.raises(UserError, match=r"missing\.ckpt"):
        commands.publish(run, to=tmp_path / "new", checkpoint=tmp_path / "missing.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("license_name", ["MIT License", "", "x\nprivate: true"])
def test_what_is_no_licence_is_refused(run: RunFolder, tmp_path: Path, license_name: str) -> None:
    with pytest.raises(UserError, match="must be an identifier of the Hub"):
        commands.publish(run, to=tmp_path / "new", license=license_name)


@pytest.mark.parametrize("name", ["hf:", "hf:ada", "hf:ada/net/more", "hf:../net", "hf:ada/net@", "hf:ada/n et"])
def test_what_names_no_repository_is_refused(name: str, picture: Path) -> None:
    with pytest.raises(UserError, match=r"names no repository; expected hf:USER/NAME"):
        commands.predict(name, [picture])


def test_names_of_repositories() -> None:
    assert hub_name("hf:ada/net-1.5@v2") == HubName("ada/net-1.5", "v2")
    assert hub_name("experiment1") is None
    assert hub_name(Path("hf:ada/net")) is None


def test_it_is_uploaded_downloaded_and_used(hub: HubStub, run: RunFolder, picture: Path) -> None:
    published = commands.publish(run, to="hf:ada/net", license="mit")
    assert published.where == f"{hub.address}/ada/net"
    repository = hub.repositories["ada/net"]
    assert set(repository.files) == FILES
    assert not repository.private
    assert "cifar100 predict hf:ada/net photo.jpg" in repository.files["README.md"].decode()
    (found,), (expected,) = commands.predict("hf:ada/net", [picture]), commands.predict(run, [picture])
    assert found.classes[0].name == expected.classes[0].name
    names = commands.load_model("hf:ada/net").info.class_names
    assert names[commands.load_model("hf:ada/net")([picture]).argmax()] == expected.classes[0].name
    assert hub.tokens - {None} == {hub.token}  # the check of the header of the card needs none


@pytest.mark.usefixtures("exported_before")
def test_a_private_repository_needs_the_token(
    hub: HubStub, run: RunFolder, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.publish(run, to="hf:ada/secret", private=True)
    assert hub.repositories["ada/secret"].private
    assert commands.predict("hf:ada/secret", [picture])
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"is not on http.*, or you have no access to it; check the name, or log in"):
        commands.predict("hf:ada/secret", [picture])


@pytest.mark.usefixtures("exported_before")
def test_private_is_never_given_up_silently(hub: HubStub, run: RunFolder) -> None:
    hub.repositories["ada/open"] = Repository()
    with pytest.raises(UserError, match="already exists and is public"):
        commands.publish(run, to="hf:ada/open", private=True)
    assert hub.repositories["ada/open"].files == {}


def test_without_a_token_nothing_is_exported(hub: HubStub, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("cifar100.results.publishing.publish.write_files", None)
    with pytest.raises(UserError, match=r"no token for the Hugging Face Hub.*hf auth login"):
        commands.publish(run, to="hf:ada/net")


@pytest.mark.usefixtures("exported_before")
def test_a_refused_token_is_one_line(hub: HubStub, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(UserError, match=r"cannot be uploaded to http.*check the name and your rights"):
        commands.publish(run, to="hf:ada/net")


def test_what_the_hub_lacks_is_one_line(hub: HubStub, picture: Path) -> None:
    with pytest.raises(UserError, match="is not on http"):
        commands.predict("hf:ada/missing", [picture])
    hub.repositories["ada/pickles"] = Repository(files={"pytorch_model.bin": b"cposix\nsystem\n"})
    with pytest.raises(UserError, match=r"^hf:ada/pickles has no model\.onnx; only networks uploaded by cifar100"):
        commands.predict("hf:ada/pickles", [picture])
    with pytest.raises(UserError, match="has no such branch, tag or commit"):
        commands.predict("hf:ada/pickles@v9", [picture])


def test_a_large_file_is_not_downloaded(hub: HubStub, picture: Path, tmp_path: Path) -> None:
    hub.repositories["ada/big"] = Repository(
        files={"model.onnx": b"x"}, claimed_sizes={"model.onnx": MAX_FILE_BYTES + 1}
    )
    with pytest.raises(UserError, match=r"has 1,073,741,825 bytes, expected at most 1,073,741,824; it was not loaded"):
        commands.predict("hf:ada/big", [picture])
    assert not (tmp_path / "cache").exists()


def test_a_hostile_file_is_not_run(hub: HubStub, picture: Path) -> None:
    from onnx import TensorProto, helper

    loop = helper.make_node("Loop", [], [], body=helper.make_graph([], "body", [], []))
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([loop], "graph", [], [output]))
    hub.repositories["eve/loop"] = Repository(files={"model.onnx": model.SerializeToString()})
    with pytest.raises(UserError, match=r"contains control flow \(Loop\).*it was not run"):
        commands.predict("hf:eve/loop", [picture])
    hub.repositories["eve/text"] = Repository(files={"model.onnx": b"no network"})
    with pytest.raises(UserError, match="is not an ONNX file, or is damaged"):
        commands.predict("hf:eve/text", [picture])


@pytest.mark.usefixtures("exported_before")
def test_without_a_connection_the_copy_of_the_cache_is_used_or_one_line_comes_at_once(
    hub: HubStub,
    run: RunFolder,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    commands.publish(run, to="hf:ada/net")
    online = commands.predict("hf:ada/net@main", [picture])
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    capsys.readouterr()
    assert commands.predict("hf:ada/net@main", [picture]) == online
    assert "using the copy of the last download" in capsys.readouterr().err
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be downloaded from http://127\.0\.0\.1:9 .*check the connection"):
        commands.predict("hf:ada/other", [picture])
    with pytest.raises(UserError, match=r"cannot be uploaded to http://127\.0\.0\.1:9"):
        hub_module.upload(tmp_path, HubName("ada/net", None), private=False)
    assert time.monotonic() - started < 8


def test_private_is_for_the_hub(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--private is for hf:USER/NAME; leave it out for a folder"):
        commands.publish(run, to=tmp_path / "new", private=True)
