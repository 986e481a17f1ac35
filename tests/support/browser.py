"""A headless Chromium of the system, driven by selenium; tests that need it are skipped without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a camera that shows a moving pattern
)

PHONE, DESKTOP = 390, 1280
"""Widths in CSS pixels."""


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Yield a browser with an empty profile folder."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield found
    finally:
        found.quit()


def open_page(driver: webdriver.Chrome, page: Path | str, *, width: int = DESKTOP, is_dark: bool = False) -> list[Any]:
    """Open a file or an address, and return the errors and warnings of the console."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}  # scrolls at once
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
    driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)
    return list(driver.get_log("browser"))


MIN_CONTRAST = 4.5
"""Of text and its background, as WCAG 2 defines and requires it."""

_FAINT = """
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const paint = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
    };
    const luminance = () => {
        const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((value) => linear(value / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const found = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const [text, element] = [texts.currentNode.textContent.trim(), texts.currentNode.parentElement];
        if (!text || !element.checkVisibility() || element.closest("svg, script, style")) continue;
        const around = [];
        for (let each = element; each; each = each.parentElement) around.unshift(each);
        paint("white");
        for (const each of around) paint(getComputedStyle(each).backgroundColor);
        if (element.matches("td.bar")) paint(getComputedStyle(element).getPropertyValue("--tint")); // as a gradient
        const background = luminance();
        paint(getComputedStyle(element).color);
        const [lower, higher] = [background, luminance()].sort((one, other) => one - other);
        const contrast = (higher + 0.05) / (lower + 0.05);
        if (contrast < arguments[0]) found.add(`${element.className} ${contrast.toFixed(2)} ${text}`);
    }
    return [...found];
"""

_NAMELESS = """
    const named = (each) => (each.getAttribute("aria-label") ?? each.getAttribute("alt") ?? each.textContent).trim();
    const controls = [...document.querySelectorAll("button, a, summary, [tabindex], [role=img]")];
    const images = [...document.images].filter((each) => !each.hasAttribute("alt"));
    return [...images, ...controls.filter((each) => !named(each))].map((each) => each.outerHTML.slice(0, 200));
"""


def inaccessible(driver: webdriver.Chrome) -> list[str]:
    """Return the visible texts that are too faint, and the images and controls without a name for a screen reader."""
    return [*driver.execute_script(_FAINT, MIN_CONTRAST), *driver.execute_script(_NAMELESS)]


def requested(driver: webdriver.Chrome) -> set[str]:
    """Return the schemes and hosts of all requests since the last call, without those inside the browser."""
    found = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            address = urlsplit(message["params"].get("url") or message["params"]["request"]["url"])
            found.add(f"{address.scheme}://{address.netloc}")
    return {address for address in found if not address.startswith(("data:", "blob:", "chrome"))}
