"""The folder of a Space: it runs as it is, and shows no private images."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser import browser, open_page, requested
from exportable_runs import write_exportable
from photographs import photographs
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from cifar100 import commands
from cifar100.data.dataset_info import read_info, write_info
from cifar100.data.folder.image_files import read_image
from cifar100.errors import UserError
from cifar100.results.demo import space as space_module
from cifar100.results.demo.space import GRADIO
from cifar100.results.report.rendering.templates import template
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="module")
def space(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spaces") / "tiny"
    commands.write_space(run, folder, license="mit")
    return folder


def header(folder: Path) -> dict[str, object]:
    _, text, _ = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    found: dict[str, object] = yaml.safe_load(text)
    return found


@contextmanager
def running(space: Path, home: Path) -> Iterator[str]:
    """Run the app as the Hub does, in a process that sees nothing of this program. Yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(home), "HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=space, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}/"
            for _ in range(240):
                assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
                try:
                    with urllib.request.urlopen(address):
                        break
                except OSError:
                    time.sleep(0.25)
            yield address
        finally:
            process.kill()


def test_it_holds_what_the_hub_needs(space: Path, run: RunFolder) -> None:
    files = {path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()}
    examples = {f"examples/example{number}.png" for number in range(1, 9)}
    assert files == {"app.py", "requirements.txt", "README.md", "model.onnx", ".gitattributes", *examples}
    assert header(space) == {
        **{"title": run.name, "sdk": "gradio", "sdk_version": GRADIO, "app_file": "app.py", "pinned": False},
        "license": "mit",
    }
    assert f"gradio=={GRADIO}" in (space / "requirements.txt").read_text().splitlines()
    assert "import cifar100" not in (space / "app.py").read_text()
    assert str(run.path.parent) not in (space / "README.md").read_text()


def test_grey_pictures_of_16_bits_are_read_as_predict_reads_them(tmp_path: Path) -> None:
    """The function of the app by itself: the whole app needs gradio."""
    program = ast.parse(template("app.py.jinja", package=space_module.__package__).render())
    parts = [node for node in program.body if isinstance(node, ast.FunctionDef) and node.name == "pixels_of"]
    names: dict[str, Any] = {"np": np, "Image": Image, "MAX_SIDE": 1024}
    exec(compile(ast.Module(parts, []), "app.py", "exec"), names)
    for largest in (200, 4000, 60_000):
        values = np.linspace(0, largest, 32 * 32).reshape(32, 32).astype(np.uint16)
        path = tmp_path / f"{largest}.png"
        Image.fromarray(values).save(path)
        with Image.open(path) as picture:
            assert picture.mode.startswith("I")
            found = names["pixels_of"](picture)
        np.testing.assert_array_equal(found[0].transpose(1, 2, 0), read_image(path, side=32))


@pytest.mark.slow
def test_it_runs_and_answers_a_picture_in_a_browser(space: Path, run: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (uv sync installs it)")
    photograph = tmp_path / "photograph.png"
    pixels = np.ascontiguousarray(photographs(1, seed=3)[0].transpose(1, 2, 0))
    Image.fromarray(pixels).resize((320, 240)).save(photograph)
    (expected,) = commands.predict(run, [photograph], calibrated=True)
    with running(space, tmp_path) as address, browser(tmp_path / "profile") as driver:
        open_page(driver, address)
        find = driver.find_elements
        WebDriverWait(driver, 60).until(lambda _: find(By.CSS_SELECTOR, "input[type=file]"))
        requested(driver)
        find(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(photograph))
        submit = next(button for button in find(By.TAG_NAME, "button") if button.text == "Submit")
        WebDriverWait(driver, 30).until(lambda _: find(By.CSS_SELECTOR, "[data-testid=image] img, .image-frame img"))
        submit.click()
        label = "[data-testid=label-output-value]"
        WebDriverWait(driver, 60).until(lambda _: find(By.CSS_SELECTOR, label))
        assert find(By.CSS_SELECTOR, label)[0].text == expected.classes[0].name


def test_custom_images_are_not_published_as_examples(tiny_data: Path, tmp_path: Path) -> None:
    run = write_exportable(tmp_path / "run", tiny_data)
    write_info(replace(read_info(run.dataset_info), origin="custom"), run.dataset_info)
    commands.write_space(run, tmp_path / "space")
    assert not (tmp_path / "space" / "examples").exists()


def test_a_folder_with_files_is_never_overwritten(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")
    with pytest.raises(
        UserError, match="already exists and is never overwritten; remove it, or choose another --space"
    ):
        commands.write_space(run, tmp_path)


def test_the_app_is_tested_with_the_version_of_gradio_that_it_names(space: Path) -> None:
    gradio = pytest.importorskip("gradio", reason="gradio is not installed (uv sync installs it)")
    assert gradio.__version__ == GRADIO
    assert header(space)["sdk_version"] == GRADIO
