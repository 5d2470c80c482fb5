"""Debian's headless Chromium, and what the pages complained about in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium_in(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start a browser with an empty profile; skip where it is not installed."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def complaints(browser: webdriver.Chrome) -> list[Any]:
    """Return what the console says of our pages since the last call; Chromium's own are left out."""
    log: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    own = ("chrome://", "favicon.ico")
    return [entry for entry in log if not any(word in entry["message"] for word in own)]
