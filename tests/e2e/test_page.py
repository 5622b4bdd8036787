"""The page at / in a real browser: log in, counts, silent devices and latest results, live; names
that are code stay names."""
import signal

import pytest
import lab as lab_module
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from stack import Stack, wait_for, write_devices

HOSTILE = "<img src=x onerror=document.title='hacked'>"
ADDRESSES = lab_module.addresses(8, first=2000)
# No background traffic: the browser talks to the page only.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--window-size=1200,900"]


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(devices, ADDRESSES[:7])
    with open(devices, "a", encoding="utf-8") as out:
        out.write(f"{ADDRESSES[7]},{HOSTILE},,,baik,1,500\n")
    lab.silence([ADDRESSES[0], ADDRESSES[7]])
    made = Stack(devices=devices)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def browser(tmp_path):
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in [*FLAGS, f"--user-data-dir={tmp_path}/profile"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    yield driver
    driver.quit()


def text(browser, identifier):
    return browser.find_element(By.ID, identifier).text


def log_in(browser, stack, token):
    browser.get(f"http://127.0.0.1:{stack.port}/")
    field = browser.find_element(By.ID, "token")
    wait_for("the login form", field.is_displayed, 10)
    field.send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "#login-form button").click()


def test_a_wrong_token_is_refused_in_words(stack, browser):
    log_in(browser, stack, "gema_wrong")
    assert wait_for("the refusal", lambda: text(browser, "login-error"), 10)
    assert not browser.find_element(By.ID, "view").is_displayed()


def test_it_shows_what_is_silent_and_goes_on_live(stack, browser, lab):
    token = (stack.data / "admin.token").read_text(encoding="utf-8").strip()
    log_in(browser, stack, token)
    wait_for("live", lambda: text(browser, "connection") == "live", 10)
    silent = wait_for("two silent devices", lambda: text(browser, "silent-total") == "2"
                      and text(browser, "silent"), 30)
    assert "host-1 " in silent and HOSTILE in silent  # as text, not as an element
    assert browser.title != "hacked"
    assert browser.find_elements(By.CSS_SELECTOR, "#silent img") == []
    assert ADDRESSES[1] in text(browser, "results")

    lab.answer([ADDRESSES[0]])
    wait_for("one silent device", lambda: text(browser, "silent-total") == "1", 30)
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
              and "401" not in entry["message"]]
    assert severe == []


def test_probing_is_paused_and_resumed_by_its_button(stack, browser):
    token = (stack.data / "admin.token").read_text(encoding="utf-8").strip()
    log_in(browser, stack, token)
    button = browser.find_element(By.ID, "pause")
    wait_for("the button", button.is_displayed, 20)
    assert not browser.find_element(By.ID, "paused").is_displayed()
    button.click()
    browser.find_element(By.ID, "pause-by").send_keys(HOSTILE)
    browser.find_element(By.ID, "pause-reason").send_keys("new switch")
    browser.find_element(By.CSS_SELECTOR, "#pause-form button").click()
    said = wait_for("the banner", lambda: text(browser, "paused"), 10)
    assert said.startswith(f"Probing is paused by {HOSTILE} since ") and said.endswith(": new switch")
    assert browser.title == "Gema", "a name is no code"
    assert stack.json("/api/v1/probing")["probing"]["by"] == HOSTILE
    assert text(browser, "pause") == "Resume probing"
    button.click()
    wait_for("resumed", lambda: text(browser, "pause") == "Pause probing", 10)
    assert not browser.find_element(By.ID, "paused").is_displayed()
    assert stack.json("/api/v1/probing")["probing"]["paused"] is False


def test_it_says_who_does_not_answer(stack, browser):
    log_in(browser, stack, (stack.data / "admin.token").read_text(encoding="utf-8").strip())
    wait_for("live", lambda: text(browser, "connection") == "live", 10)
    troubles = browser.find_element(By.ID, "troubles")
    wait_for("no trouble", lambda: not troubles.is_displayed(), 30)
    stack.kill("recorder", signal.SIGSTOP)
    try:
        wait_for("its silence", lambda: text(browser, "troubles") == "recorder: does not answer", 30)
    finally:
        stack.kill("recorder", signal.SIGCONT)
    wait_for("no trouble", lambda: not troubles.is_displayed(), 30)
