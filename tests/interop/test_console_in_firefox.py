"""The console and `/client.js` in a real Firefox: its microphone is a tone, the agent's words come back as sound and are recognised."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from firefox import FirefoxPage, firefox, running_firefox
from running_server import Server, running_server
from test_console_in_chromium import ANSWER, BOOK, GREETING, LISTEN, TOKEN, enter, heard_by

from active_call.testing.sound.listening import Recogniser, utterances

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(firefox() is None, reason="not installed: apt-get install firefox-esr"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), BOOK, extra=f'http_token = "{TOKEN}"\n', recording=True) as running:
        yield running


@pytest.fixture
def page(tmp_path: Path, server: Server) -> Iterator[FirefoxPage]:
    """A page of the console whose token was entered. Its scripts must not fail, nor its policy be broken."""
    with running_firefox(tmp_path) as fresh:
        fresh.look(1280, 860)
        fresh.before_each_page(LISTEN)
        enter(fresh, server)
        yield fresh
        assert fresh.faults == []


def recognised(page: FirefoxPage, wanted: str, timeout_s: float = 30.0) -> str:
    """What has been heard of the agent, once that includes `wanted`."""
    recogniser, deadline = Recogniser([GREETING, ANSWER], ["I am sorry, I did not understand that."]), time.monotonic() + timeout_s
    while True:
        sound = heard_by(page)
        told = " ".join(recogniser.recognise(sound[one.start : one.end]).text for one in utterances(sound))
        if wanted in told or time.monotonic() > deadline:
            return told
        time.sleep(0.5)


def test_firefox_hears_the_agent_is_heard_and_its_keys_are_understood(page: FirefoxPage) -> None:
    page.click("Call")
    page.wait(f"document.body.innerText.includes({json.dumps(GREETING)})", 60)
    assert GREETING in recognised(page, GREETING)
    page.click("2")
    page.wait("document.body.innerText.includes('On Monday we bake')", 60)
    statistics = page.run("pcs[0].getStats().then(all => [...all.values()].filter(one => one.type === 'remote-inbound-rtp'))")
    assert statistics[0]["packetsLost"] == 0
    page.click("Hang up")
    page.wait("[...document.querySelectorAll('button')].some(one => one.textContent.trim() === 'Call')", 30)
    page.run("location.hash = '#/records'")
    page.wait("document.querySelector('table a')")
    record = page.run("decodeURIComponent(document.querySelector('table a').getAttribute('href').split('/').at(-1))")
    read = f"fetch('/api/records/{record}', {{ headers: {{ authorization: 'Bearer {TOKEN}' }} }}).then(answer => answer.json())"
    assert page.run(read)["media"]["packets_received"] > 100


def test_every_page_of_the_console_opens_in_firefox(page: FirefoxPage) -> None:
    for place in page.run("[...document.querySelectorAll('nav a')].map(one => one.getAttribute('href'))"):
        page.run(f"location.hash = {json.dumps(place)}")
        page.wait("document.querySelector('h1') && document.querySelector('main').innerText.trim().length > 0")
        assert "Error" not in str(page.run("document.querySelector('main').innerText"))
