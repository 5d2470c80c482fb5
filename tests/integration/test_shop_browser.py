"""An order page in a real browser: it follows the saga, and shows text as text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import reverse
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from sagas.models import SagaRun
from tests.browser import chromium_in, complaints
from tests.driving import drive, run_one


pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HOSTILE = "<img src=x onerror=\"document.title='broken'\">"


@pytest.fixture
def browser(tmp_path: Path, settings: Settings) -> Iterator[webdriver.Chrome]:
    """A browser under a strict content policy."""
    settings.MIDDLEWARE = ["tests.csp.StrictContentSecurityPolicy", *settings.MIDDLEWARE]
    with chromium_in(tmp_path) as chrome:
        yield chrome


def wait_for(browser: webdriver.Chrome, selector: str) -> None:
    WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))


def place_order(browser: webdriver.Chrome, shop: str, **choices: str) -> SagaRun:
    browser.get(f"{shop}{reverse('shop:place')}")
    browser.find_element(By.NAME, "customer").send_keys(choices.pop("customer", "Ada"))
    for name, value in choices.items():
        Select(browser.find_element(By.NAME, name)).select_by_value(value)
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    wait_for(browser, "[data-live]")
    return SagaRun.objects.get()


def test_the_page_follows_the_saga_forward_and_back(
    browser: webdriver.Chrome, live_server: LiveServer
) -> None:
    run = place_order(browser, live_server.url, fail_at="create_shipment", customer=HOSTILE)
    assert HOSTILE in browser.find_element(By.CSS_SELECTOR, ".lead").text
    browser.execute_script("window.sameDocument = true")

    run_one(run)
    wait_for(browser, "tbody tr:first-child [data-state=succeeded]")
    drive(run)
    wait_for(browser, "h1 [data-state=compensated]")

    undone = browser.find_elements(By.CSS_SELECTOR, "tr[data-direction=backward] th")
    words = [cell.text for cell in undone]
    assert words == ["reverse revenue", "refund payment", "release inventory"]
    errors = browser.find_element(By.CSS_SELECTOR, "tbody").text
    assert "ADDRESS_UNKNOWN no driver finds this address" in errors
    assert browser.title.startswith("Order ")
    assert browser.execute_script("return window.sameDocument")
    assert complaints(browser) == []
