"""The console in a real Chromium when things go wrong: a server that stops, an editor that is left, names that are too long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser, chromium, running_browser
from running_server import running_server

from active_call.testing.sound import audio

pytestmark = [pytest.mark.alone, pytest.mark.skipif(chromium() is None, reason="chromium is not installed")]

GREETING = "Welcome to the harbour bakery, where we bake from five o'clock." + " We have bread, rolls and cakes of many kinds." * 20
"""Longer than the pages may take to load: the agent still speaks when the call is ended."""
BOOK = f"---\nllm: {{provider: script}}\ngreeting: {GREETING}\n---\n## *\nPardon?\n"
LINES_OF = "cell => { const range = document.createRange(); range.selectNodeContents(cell); return range.getClientRects().length }"
"""How many lines the text of a cell takes."""
TEXT = "document.querySelector('main').innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    audio.write_wav(folder / "microphone.wav", np.zeros(480_000, np.int16), rate_hz=48_000)
    with running_browser(folder, folder / "microphone.wav") as running:
        yield running


def test_pages_say_that_the_server_is_gone_and_a_call_that_is_over_stands_still(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path, BOOK) as server, browser.page() as page, browser.page() as operator:
        page.go(f"http://127.0.0.1:{server.http_port}/")
        page.click("Call")
        page.wait("document.querySelector('.said.agent')")
        operator.go(f"http://127.0.0.1:{server.http_port}/#/live")
        operator.wait("document.querySelector('table a')")
        operator.run("document.querySelector('table a').click()")
        operator.wait("document.querySelector('.facts')?.innerText.includes('main.md')")
        page.wait("document.querySelector('.said.agent.interim')")
        page.click("Hang up")
        operator.wait(f"{TEXT}.includes('ended by')")
        for one in (page, operator):
            one.wait("!document.querySelector('.interim')")
        assert operator.run("document.querySelector('h1').innerText") == "browser → main.md"
        assert "main.md" in operator.run("document.querySelector('.facts').innerText")
        shown = page.run("document.querySelector('.timer').innerText")
        server.stop()
        operator.run("location.hash = '#/live'")
        for one in (page, operator):
            one.wait(f"{TEXT}.includes('The server cannot be reached.')", 30)
        assert page.run("document.querySelector('.timer').innerText") == shown


def test_text_that_is_not_saved_is_there_again_and_a_long_name_leaves_room_for_the_rest(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path, BOOK) as server, browser.page() as page:
        for user in ("%D9%85%D8%B1%D8%AD%D8%A8%D8%A7", "x" * 120, "%2B4930123"):
            server.post("/call", {"callee": f"sip:{user}@127.0.0.1:9", "playbook": "main.md"})
        server.wait_records(3)
        page.look(1280, 860)
        page.go(f"http://127.0.0.1:{server.http_port}/#/playbooks/new.md")
        page.wait("document.querySelector('.editor textarea')")
        assert page.run("document.querySelector('[aria-live]').innerText").startswith("not saved")  # there is no such file yet
        page.run(
            "(area => { area.value += 'One more line.'; area.dispatchEvent(new Event('input', { bubbles: true })); })"
            "(document.querySelector('.editor textarea'))"
        )
        page.run("location.hash = '#/records'")
        page.wait("document.querySelectorAll('tbody tr').length === 3")
        names = page.run("[...document.querySelectorAll('tbody a')].map(one => one.innerText)")
        assert any("+4930123@" in name for name in names) and any(
            "\u2068\u0645\u0631\u062d\u0628\u0627@127.0.0.1:9\u2069" in name for name in names
        )
        heights = page.run("[...document.querySelectorAll('tbody .badge')].map(one => one.getBoundingClientRect().height)")
        assert max(heights) < 30
        assert page.run(f"[...document.querySelectorAll('td[data-label=Direction]')].map({LINES_OF})") == [1, 1, 1]
        page.run("location.hash = '#/playbooks/new.md'")
        page.wait("document.querySelector('.editor textarea')?.value.endsWith('One more line.')")
        page.click("Save")
        page.wait("document.querySelector('[aria-live]').innerText.startsWith('saved')")
        assert (server.folder / "playbooks" / "new.md").read_text(encoding="utf-8").endswith("One more line.")
        page.go(f"http://127.0.0.1:{server.http_port}/#/records/%")  # an address that somebody has typed
        page.wait("document.querySelector('tbody tr')")
        assert json.dumps(page.faults) == "[]"
