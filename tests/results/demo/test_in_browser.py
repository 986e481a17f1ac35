"""The demo in a real browser: a picture in, the answer out, and no request to any other host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, browser, inaccessible, open_page, requested
from photographs import photographs
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from cifar100 import commands
from cifar100.results.demo.answers import Answerer
from cifar100.results.demo.content import of_run
from cifar100.results.demo.demo import render_page
from cifar100.results.demo.server import MAX_FILE_BYTES, DemoServer
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(run: RunFolder) -> Iterator[str]:
    network = commands.load_model(run)
    assert isinstance(network, TrainedNetwork)
    content, network = of_run(run, network)
    assert content.temperature != 1
    with DemoServer(0) as server:
        thread = threading.Thread(target=server.serve, args=(render_page(content), Answerer(network)))
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of 640 x 480 pixels that a camera has turned."""
    path = tmp_path_factory.mktemp("photographs") / "käfer auf blatt.jpg"
    pixels = photographs(1, seed=3)[0].transpose(1, 2, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(pixels)).resize((640, 480)).save(path, exif=exif)
    return path


def texts(driver: Chrome, selector: str) -> list[str]:
    """Text of the elements themselves, without that of their children."""
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.firstChild.textContent)"
    return list(driver.execute_script(script, selector))


def shown_answer(driver: Chrome) -> list[tuple[str, float]]:
    """Wait for an answer, and return its classes with their percentages."""
    WebDriverWait(driver, 20).until(lambda _: driver.find_element(By.CSS_SELECTOR, ".found").is_displayed())
    WebDriverWait(driver, 20).until(lambda _: "busy" not in (body(driver).get_attribute("class") or ""))
    names, percentages = texts(driver, ".found .name"), texts(driver, ".found .percent")
    return [(name, float(each.removesuffix(" %"))) for name, each in zip(names, percentages, strict=True)]


def body(driver: Chrome) -> WebElement:
    return driver.find_element(By.TAG_NAME, "body")


def shown_problem(driver: Chrome) -> str:
    problem = driver.find_element(By.CSS_SELECTOR, ".problem")
    WebDriverWait(driver, 20).until(lambda _: problem.is_displayed())
    return problem.text


def assert_same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=0.051)


def expected_answer(run: RunFolder, picture: Path) -> list[tuple[str, float]]:
    (prediction,) = commands.predict(run, [picture], calibrated=True)
    return [(each.name, 100 * each.probability) for each in prediction.classes]


def drop(driver: Chrome, file: Path) -> None:
    """Drop a file on the page, as the system's file manager does."""
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 200, "y": 300, "data": data}
        driver.execute_cdp_cmd("Input.dispatchDragEvent", event)


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_dropped_photograph_is_answered_as_predict_does(
    driver: Chrome, address: str, run: RunFolder, photograph: Path, width: int, is_dark: bool
) -> None:
    requested(driver)
    assert open_page(driver, address, width=width, is_dark=is_dark) == []
    drop(driver, photograph)
    assert_same(shown_answer(driver), expected_answer(run, photograph))
    assert driver.get_log("browser") == []
    assert requested(driver) == {address}  # the page asks no other host for anything
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    broken = "return [...document.images].filter((each) => each.checkVisibility() && !each.naturalWidth).length"
    assert driver.execute_script(broken) == 0
    assert inaccessible(driver) == []


def press(driver: Chrome, element: WebElement) -> None:
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_a_chosen_file_is_answered(driver: Chrome, address: str, run: RunFolder, photograph: Path) -> None:
    open_page(driver, address)
    driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(photograph))
    assert_same(shown_answer(driver), expected_answer(run, photograph))
    assert driver.find_element(By.CSS_SELECTOR, ".given").is_displayed()


def test_a_pasted_picture_is_answered(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    paste = """
        const data = new DataTransfer();
        const bytes = Uint8Array.from(atob(arguments[0].split(",")[1]), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], "image.png", { type: "image/png" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    """
    example = driver.find_element(By.CSS_SELECTOR, "#examples img").get_attribute("src")
    driver.execute_script(paste, example)
    assert len(shown_answer(driver)) == 5
    assert driver.find_element(By.CSS_SELECTOR, ".seen").get_attribute("src") == example  # 32x32: sent as it is


def test_a_picture_of_the_camera_is_answered(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    press(driver, driver.find_element(By.CSS_SELECTOR, ".camera"))
    shoot = driver.find_element(By.CSS_SELECTOR, ".shoot")
    WebDriverWait(driver, 20).until(lambda _: shoot.is_displayed())
    press(driver, shoot)
    assert len(shown_answer(driver)) == 5
    assert not driver.find_element(By.TAG_NAME, "video").is_displayed()


def test_two_clicks_open_the_camera_once(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    twice = """
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.opened = 0;
        navigator.mediaDevices.getUserMedia = (wanted) => { window.opened += 1; return open(wanted); };
        for (const _ of [1, 2]) document.querySelector(".camera").click();
        return window.opened;
    """
    assert driver.execute_script(twice) == 1
    shoot = driver.find_element(By.CSS_SELECTOR, ".shoot")
    WebDriverWait(driver, 20).until(lambda _: shoot.is_displayed())
    press(driver, shoot)
    assert len(shown_answer(driver)) == 5
    assert driver.find_element(By.CSS_SELECTOR, ".camera").is_enabled()


def test_a_camera_that_opens_after_another_picture_was_given_is_closed(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    late = """
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            const stream = await open(wanted);
            await new Promise((proceed) => { window.allow = proceed; });
            window.tracks = stream.getTracks();
            return stream;
        };
        document.querySelector(".camera").click();
    """
    driver.execute_script(late)
    WebDriverWait(driver, 20).until(lambda _: driver.execute_script("return window.allow !== undefined"))
    press(driver, driver.find_element(By.CSS_SELECTOR, "#examples button"))
    assert len(shown_answer(driver)) == 5
    driver.execute_script("window.allow()")
    is_off = "return window.tracks !== undefined && window.tracks.every((track) => track.readyState === 'ended')"
    WebDriverWait(driver, 20).until(lambda _: driver.execute_script(is_off))
    assert not driver.find_element(By.TAG_NAME, "video").is_displayed()
    assert driver.find_element(By.CSS_SELECTOR, ".given").is_displayed()


def test_a_mistake_is_predicted_as_the_gallery_says_and_each_class_has_its_map(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    mistake = driver.find_element(By.CSS_SELECTOR, "#mistakes button")
    press(driver, mistake)
    (first, *_) = shown_answer(driver)
    assert f"taken for {first[0]}" in mistake.text
    picture = driver.find_element(By.CSS_SELECTOR, ".map img")
    maps = set()
    for row in driver.find_elements(By.CSS_SELECTOR, ".found ol button"):
        press(driver, row)
        assert row.get_attribute("aria-pressed") == "true"
        name = driver.find_element(By.CSS_SELECTOR, ".map b").text
        assert row.text.startswith(name)
        maps.add(picture.get_attribute("src"))
    assert len(maps) > 1


def test_what_is_no_picture_or_too_large_is_one_line(driver: Chrome, address: str, tmp_path: Path) -> None:
    open_page(driver, address)
    text, large = tmp_path / "notes.txt", tmp_path / "large.png"
    text.write_text("no picture")
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    drop(driver, text)
    assert shown_problem(driver) == "This file is damaged or not an image (10 bytes); restore it or leave it out."
    drop(driver, large)
    WebDriverWait(driver, 20).until(lambda _: shown_problem(driver).startswith("This file has 32.0 MB, expected"))
    driver.find_element(By.CSS_SELECTOR, "#examples button").click()  # and it goes on
    assert len(shown_answer(driver)) == 5


def test_a_picture_that_is_too_large_ends_the_wait_for_an_earlier_one(driver: Chrome, address: str) -> None:
    open_page(driver, address)
    twice = """
        const choose = (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "picture.png"));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        };
        choose(10);
        choose(arguments[0] + 1);
        return document.body.className;
    """
    assert driver.execute_script(twice, MAX_FILE_BYTES) == ""
    assert shown_problem(driver).startswith("This file has 32.0 MB, expected")
