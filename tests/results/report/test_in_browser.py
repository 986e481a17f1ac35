"""The report in a real browser: no error, its table sorts, its matrices answer to mouse, finger and keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import DESKTOP, PHONE, browser, inaccessible, open_page
from measured_runs import HOSTILE_NAMES, info_of, measured_run, save_measurement
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from cifar100 import commands
from cifar100.results.report.confusion import Matrix, class_matrix
from cifar100.results.report.facts import read_facts
from cifar100.results.report.measured import Measured, read_measured
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def measured(trained_run: RunFolder) -> Measured:
    found = read_measured(read_facts(trained_run))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page(trained_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with 100 classes, pictures and maps."""
    return commands.report(trained_run.path, output=tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def both(trained_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    other = measured_run(folder / "other", info_of(["a", "b"]))
    return commands.report([trained_run.path, other.path], output=folder / "both.html")


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("which", ["page", "both"])
def test_it_opens_without_a_word_on_the_console_and_fits_the_screen(
    driver: Chrome, which: str, width: int, is_dark: bool, request: pytest.FixtureRequest
) -> None:
    assert open_page(driver, request.getfixturevalue(which), width=width, is_dark=is_dark) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    page_colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert page_colour == ("rgb(18, 20, 23)" if is_dark else "rgb(251, 251, 250)")
    broken = "return [...document.images].filter((image) => !image.naturalWidth).length"
    assert driver.execute_script(broken) == 0


@pytest.mark.parametrize("is_dark", [False, True])
def test_every_text_is_readable_and_every_control_has_a_name(
    driver: Chrome, page: Path, both: Path, tmp_path: Path, is_dark: bool
) -> None:
    run = measured_run(tmp_path / "run", info_of(["a", "b", "c"]))
    labels = torch.arange(30) % 3
    predicted = torch.where(labels == 0, torch.arange(30) % 2 + 1, labels)  # a is never recognised, c always
    predicted[labels == 1] = 0
    save_measurement(run, info_of(["a", "b", "c"]), torch.eye(3)[predicted], labels)
    for shown in (page, both, commands.report(run.path)):
        open_page(driver, shown, is_dark=is_dark)
        assert inaccessible(driver) == []


def column(driver: Chrome, number: int) -> list[str]:
    cells = f"table.sortable tbody tr > :nth-child({number})"
    script = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent.trim())"
    return list(driver.execute_script(script, cells))


def test_the_table_of_classes_sorts(driver: Chrome, page: Path, measured: Measured) -> None:
    open_page(driver, page)
    rows = measured.class_rows()
    assert column(driver, 1) == [row.name for row in rows]
    headings = driver.find_elements(By.CSS_SELECTOR, "table.sortable thead th")

    def press(number: int) -> str | None:
        button = headings[number - 1].find_element(By.TAG_NAME, "button")
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        assert [heading.get_attribute("aria-sort") for heading in headings].count(None) == len(headings) - 1
        return headings[number - 1].get_attribute("aria-sort")

    assert press(1) == "ascending"
    assert column(driver, 1) == sorted((row.name for row in rows), key=str.lower)
    assert press(3) == "descending"  # numbers begin with the largest
    precisions = sorted((row.precision for row in rows), reverse=True)
    assert column(driver, 3) == [f"{100 * value:.1f}\xa0%" for value in precisions]
    assert press(3) == "ascending"
    assert column(driver, 3) == [f"{100 * value:.1f}\xa0%" for value in precisions[::-1]]


def test_texts_that_are_numbers_sort_as_numbers(driver: Chrome, tmp_path: Path) -> None:
    names = ["10", "9", "1e-3", "0.01", "100", "0.1"]  # as the settings of a sweep
    open_page(driver, commands.report(measured_run(tmp_path / "run", info_of(names)).path))
    heading = driver.find_element(By.CSS_SELECTOR, "table.sortable thead th button")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", heading)
    heading.click()
    assert column(driver, 1) == ["1e-3", "0.01", "0.1", "9", "10", "100"]
    heading.click()
    assert column(driver, 1) == ["100", "10", "9", "0.1", "0.01", "1e-3"]


@pytest.fixture
def plot(driver: Chrome, page: Path) -> WebElement:
    open_page(driver, page)
    found = driver.find_element(By.CSS_SELECTOR, ".plot")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def text_of(matrix: Matrix, row: int, column: int) -> str:
    """What the page should say about a cell."""
    count, total = int(matrix.counts[row, column]), int(matrix.counts[row].sum())
    names = matrix.names[row], matrix.names[column]
    what = f"{names[0]}, correct" if row == column else f"{names[0]} → {names[1]}"
    return f"{what}: {count} of {total}, {100 * count / total:.1f} %"


def read_cell(driver: Chrome) -> str:
    tip, output = (driver.find_element(By.CSS_SELECTOR, name) for name in (".plot .tip", "figure.matrix output"))
    assert tip.is_displayed()
    assert tip.text == output.text
    return tip.text


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 3), (99, 0), (50, 71), (0, 99), (99, 99)])
def test_a_cell_is_named_under_the_mouse(
    driver: Chrome, plot: WebElement, measured: Measured, row: int, column: int
) -> None:
    matrix = class_matrix(measured)
    size = plot.size["width"]
    across, down = (round((position + 0.5) * size / 100 - size / 2) for position in (column, row))
    ActionChains(driver).move_to_element_with_offset(plot, across, down).perform()
    assert read_cell(driver) == text_of(matrix, row, column)
    box, tip = plot.rect, driver.find_element(By.CSS_SELECTOR, ".plot .tip").rect
    assert box["x"] - 1 <= tip["x"] <= tip["x"] + tip["width"] <= box["x"] + box["width"] + 1
    ActionChains(driver).move_to_element(driver.find_element(By.TAG_NAME, "nav")).perform()
    assert not driver.find_element(By.CSS_SELECTOR, ".plot .tip").is_displayed()


def test_a_cell_is_named_under_a_finger_and_by_the_arrow_keys(
    driver: Chrome, plot: WebElement, measured: Measured
) -> None:
    matrix = class_matrix(measured)
    box = driver.execute_script("const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]", plot)
    left, top, width = box
    point = {"x": left + 0.205 * width, "y": top + 0.405 * width}
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert read_cell(driver) == text_of(matrix, 40, 20)
    driver.execute_script("arguments[0].focus()", plot)
    plot.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert read_cell(driver) == text_of(matrix, 41, 22)


def test_the_two_views_of_the_matrix_are_switched(driver: Chrome, plot: WebElement) -> None:
    views = [plot.find_element(By.CSS_SELECTOR, f"img.{name}") for name in ("log", "fraction")]
    assert [view.is_displayed() for view in views] == [True, False]
    label = driver.find_element(By.XPATH, "//label[text()='Fraction of each class']")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", label)
    label.click()
    assert [view.is_displayed() for view in views] == [False, True]


def test_hostile_names_run_nothing(driver: Chrome, tmp_path: Path) -> None:
    names = [f"{name}{label}" for label in range(6) for name in HOSTILE_NAMES]
    path = commands.report(measured_run(tmp_path / "run", info_of(names)).path)
    assert open_page(driver, path) == []
    assert driver.title == "run: report of a cifar100 run"
    plot = driver.find_element(By.CSS_SELECTOR, ".plot")
    ActionChains(driver).move_to_element_with_offset(plot, 2, -2).perform()
    assert "of" in read_cell(driver)
    assert driver.title == "run: report of a cifar100 run"
    assert driver.find_elements(By.CSS_SELECTOR, "[onerror], [onmouseover]") == []


def test_it_prints(driver: Chrome, page: Path) -> None:
    open_page(driver, page, is_dark=True)
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = "return getComputedStyle(document.querySelector('nav')).display"
    assert driver.execute_script(hidden) == "none"
    assert driver.execute_script("return getComputedStyle(document.body).color") == "rgb(27, 31, 36)"  # on white
    overflows = "return [...document.querySelectorAll('.scroll')].map((each) => getComputedStyle(each).overflowX)"
    assert set(driver.execute_script(overflows)) == {"visible"}  # paper does not scroll: a wide table would be cut off
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
