"""An operator in front of a real browser: finding a dead letter, reading it, acting on it."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import Select, WebDriverWait

from sagas import start_saga
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.browser import chromium_in, complaints
from tests.driving import drive, step_of
from tests.factories import make_dead_letter, make_run, make_running, record_sweep
from tests.integration.test_approval_links import url_for
from tests.integration.test_approvals import person, refund
from tests.traced import Five, Script


pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HOSTILE = "<script>document.title='broken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium_in(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@pytest.fixture
def browser(
    chromium: webdriver.Chrome, live_server: LiveServer, admin_client: Client, settings: Settings
) -> webdriver.Chrome:
    """A browser in which an administrator is logged in, under a strict content policy."""
    settings.MIDDLEWARE = ["tests.csp.StrictContentSecurityPolicy", *settings.MIDDLEWARE]
    chromium.get(f"{live_server.url}{reverse('admin:login')}")
    cookie = admin_client.cookies[settings.SESSION_COOKIE_NAME]
    chromium.add_cookie({"name": cookie.key, "value": cookie.value})
    complaints(chromium)
    return chromium


@pytest.fixture
def sagas_url(live_server: LiveServer) -> str:
    return f"{live_server.url}{reverse('admin:sagas_sagarun_changelist')}"


def element(browser: webdriver.Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def follow(browser: webdriver.Chrome, link_or_button: WebElement) -> None:
    """Click, and wait for the page that this leads to."""
    page = element(browser, "html")
    link_or_button.click()
    # In between the browser may say of an element neither that it is there nor that it is stale.
    waiting = WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException])
    waiting.until(expected_conditions.staleness_of(page))


def test_a_dead_letter_is_found_read_and_retried(browser: webdriver.Chrome, sagas_url: str) -> None:
    make_dead_letter("order-17")
    make_running("order-18")
    record_sweep()
    browser.get(sagas_url)
    follow(browser, browser.find_element(By.LINK_TEXT, "Needs attention"))
    assert [link.text for link in browser.find_elements(By.CSS_SELECTOR, ".field-key a")] == [
        "order-17"
    ]

    follow(browser, browser.find_element(By.LINK_TEXT, "order-17"))
    assert "Needs an operator: create_shipment" in element(browser, ".saga-head").text
    browser.find_element(By.LINK_TEXT, "create_shipment").click()
    failed = element(browser, "#step-forward-create_shipment")
    failed.find_element(By.TAG_NAME, "summary").click()
    assert "shop.FulfilOrder:order-17:create_shipment" in failed.text

    follow(browser, browser.find_element(By.LINK_TEXT, "Retry…"))
    element(browser, "textarea[name=reason]").send_keys("the carrier is back")
    follow(browser, element(browser, "input[type=submit].default"))
    assert "Retry: done for 1 saga." in element(browser, ".messagelist").text
    assert "Running" in element(browser, ".saga-headline").text
    assert "the carrier is back" in element(browser, "#events").text
    assert SagaRun.objects.get(key="order-17").state == SagaState.RUNNING
    assert complaints(browser) == []


def test_a_step_is_settled_by_hand_and_a_slip_costs_nothing(
    browser: webdriver.Chrome, sagas_url: str
) -> None:
    run = make_dead_letter("order-17")
    browser.get(f"{sagas_url}{run.pk}/change/")
    failed = element(browser, "#step-forward-create_shipment")
    follow(browser, failed.find_element(By.LINK_TEXT, "Skip step…"))
    assert "the carrier does not answer" in element(browser, "#content").text
    element(browser, "textarea[name=reason]").send_keys("shipped by hand")
    result = element(browser, "textarea[name=result]")
    result.send_keys('{"tracking": ')
    follow(browser, element(browser, "input[type=submit].default"))
    row = element(browser, ".form-row:has(textarea[name=result])")
    assert "This is not valid JSON" in row.find_element(By.CLASS_NAME, "errorlist").text
    assert element(browser, "textarea[name=reason]").get_attribute("value") == "shipped by hand"

    row.find_element(By.NAME, "result").send_keys('"TRACK-7"}')
    follow(browser, element(browser, "input[type=submit].default"))
    assert "Skip step: done for 1 saga." in element(browser, ".messagelist").text
    assert "shipped by hand" in element(browser, "#events").text
    assert "TRACK-7" in str(run.steps.get(name="create_shipment").output)
    assert complaints(browser) == []


def test_a_step_that_waits_is_found_and_answered(browser: webdriver.Chrome, sagas_url: str) -> None:
    run = drive(start_saga(Five, Script({"b": "wait=60"}), key="order-17"))
    drive(start_saga(Five, Script(), key="order-18"))
    browser.get(sagas_url)
    follow(browser, browser.find_element(By.LINK_TEXT, "Waiting for others"))
    follow(browser, browser.find_element(By.CSS_SELECTOR, ".field-key a"))
    waiting = element(browser, "#step-forward-b")
    text = waiting.find_element(By.CLASS_NAME, "saga-wait").text
    assert "others do b" in text
    assert step_of(run, "b").idempotency_key in text
    assert re.search(r"Until\n.* \(in \d+", text)

    follow(browser, waiting.find_element(By.LINK_TEXT, "Complete step…"))
    assert "others do b" in element(browser, ".saga-wait").text
    element(browser, "textarea[name=reason]").send_keys("they rang")
    element(browser, "textarea[name=result]").send_keys('{"of": 7}')
    follow(browser, element(browser, "input[type=submit].default"))
    row = element(browser, ".form-row:has(textarea[name=result])")
    assert "is not a valid Receipt" in row.find_element(By.CLASS_NAME, "errorlist").text

    row.find_element(By.NAME, "result").clear()
    element(browser, "textarea[name=result]").send_keys('{"of": "outside"}')
    follow(browser, element(browser, "input[type=submit].default"))
    assert "Complete step: done for 1 saga." in element(browser, ".messagelist").text
    assert "they rang" in element(browser, "#events").text
    assert step_of(run, "b").output == {"of": "outside"}
    assert complaints(browser) == []


def test_several_are_retried_at_once(browser: webdriver.Chrome, sagas_url: str) -> None:
    for key in ("order-1", "order-2"):
        make_dead_letter(key)
    make_running("order-3")
    browser.get(sagas_url)
    element(browser, "#action-toggle").click()
    Select(element(browser, "select[name=action]")).select_by_value("retry_selected")
    follow(browser, element(browser, "button[name=index]"))
    assert element(browser, "#content").text.count("not possible now") == 1
    element(browser, "textarea[name=reason]").send_keys("the carrier is back")
    follow(browser, element(browser, "input[type=submit].default"))
    text = element(browser, ".messagelist").text
    assert "Retry: done for 2 sagas." in text
    assert "order-3 is running" in text
    assert complaints(browser) == []


def test_what_came_from_outside_stays_text(browser: webdriver.Chrome, sagas_url: str) -> None:
    run = make_dead_letter(
        HOSTILE, error=HOSTILE, error_code=HOSTILE[:90], tags={HOSTILE: HOSTILE}, input=HOSTILE
    )
    for address in (sagas_url, f"{sagas_url}{run.pk}/change/", f"{sagas_url}{run.pk}/resolve/"):
        browser.get(address)
        assert browser.title != "broken"
        assert HOSTILE in element(browser, "#content").text
    assert complaints(browser) == []


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("chosen", ["auto", "light", "dark"])
def test_every_badge_can_be_read(
    browser: webdriver.Chrome, sagas_url: str, system: str, chosen: str
) -> None:
    for state in SagaState:
        make_run(state, key=state.value)
    media = {"features": [{"name": "prefers-color-scheme", "value": system}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(sagas_url)
    browser.execute_script("document.documentElement.dataset.theme = arguments[0]", chosen)
    badges = browser.find_elements(By.CSS_SELECTOR, ".saga-badge")
    assert len(badges) == len(SagaState)
    for badge in badges:
        colours = [badge.value_of_css_property(name) for name in ("color", "background-color")]
        assert contrast(*colours) >= 4.5, badge.text
        is_dark = luminance(colours[1]) < luminance(colours[0])
        assert is_dark == ((system if chosen == "auto" else chosen) == "dark")


def test_a_page_fits_a_phone(browser: webdriver.Chrome, sagas_url: str) -> None:
    run = make_dead_letter("order-" + "x" * 200)
    browser.set_window_size(420, 900)
    browser.get(f"{sagas_url}{run.pk}/change/")
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    assert browser.execute_script(overflow) <= 0
    browser.set_window_size(1400, 1000)


def contrast(one: str, other: str) -> float:
    """WCAG 2, of two colours as a browser computes them: ``rgba(1, 2, 3, 1)``."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_two_people_approve_one_in_the_admin_and_one_by_a_link(
    browser: webdriver.Chrome, sagas_url: str, live_server: LiveServer
) -> None:
    run = refund(four_eyes="yes")
    browser.get(f"{sagas_url}{run.pk}/change/")
    asking = element(browser, "#step-forward-approve")
    assert "2 people who have sagas.revert_sagarun" in asking.text
    follow(browser, asking.find_element(By.LINK_TEXT, "Approve…"))
    element(browser, "textarea[name=reason]").send_keys("a good customer")
    follow(browser, element(browser, "input[type=submit].default"))
    assert "Approved so far by" in element(browser, "#step-forward-approve").text

    browser.get(f"{live_server.url}{url_for(run, person('bob', 'revert_sagarun'))}")
    assert "refund over 500" in element(browser, "main").text
    element(browser, "textarea[name=reason]").send_keys("I know them")
    follow(browser, element(browser, "button[name=approve]"))
    assert "You approved it." in element(browser, "main").text
    assert complaints(browser) == []
    assert drive(run).state == SagaState.COMPLETED
