"""A real browser for tests: Debian's `chromium` without a window, driven by the Chrome DevTools Protocol.

Its microphone is a WAV file; it may use it without being asked. Pages of one browser share it one after another: `open` gives a fresh page.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

START_S = 30
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


class PageError(AssertionError):
    """A script of the page has failed, or what was waited for did not come."""


class Page:
    """One page, by a connection of its own. What it logs as an error is kept in `faults`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.faults: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.order(f"{domain}.enable")

    def order(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == number:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']} {message.get('message', '')}")
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.faults.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        told = self.order("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return told["result"].get("value")

    def wait(self, script: str, timeout_s: float = 20.0) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(PageError):  # the page is being replaced
                if self.run(f"Boolean({script})"):
                    return
            if time.monotonic() > deadline:
                text = self.run("document.body.innerText")
                raise PageError(f"waited {timeout_s:g} s for {script}\n{str(text)[:2000]}\n{self.faults}")
            time.sleep(0.05)

    def go(self, url: str) -> None:
        """Open `url`, as if typed."""
        self.order("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def click(self, text: str) -> None:
        """Press the button or link of that text, once it is there."""
        found = f"[...document.querySelectorAll('button, a')].find(one => one.textContent.trim() === {json.dumps(text)} && !one.disabled)"
        self.wait(f"Boolean({found})")
        self.run(f"{found}.click()")

    def fill(self, label: str, value: str) -> None:
        """Write into the field of that label, as a person does."""
        script = f"""(() => {{
          const label = [...document.querySelectorAll('label')].find(one => one.innerText.trim().startsWith({json.dumps(label)}));
          const field = label.querySelector('input, select, textarea');
          field.value = {json.dumps(value)};
          field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input', {{ bubbles: true }}));
        }})()"""
        self.run(script)

    def press(self, key: str) -> None:
        """A key of the keyboard."""
        code = KEYS.get(key, ord(key.upper()[0]))
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.order("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}))

    def look(self, width: int, height: int, *, is_phone: bool = False, is_dark: bool = False) -> None:
        """The size and the theme of the window."""
        self.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone)
        wanted = {"prefers-color-scheme": "dark" if is_dark else "light", "prefers-reduced-motion": "reduce"}
        self.order("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wanted.items()])

    def picture(self, file: Path) -> None:
        """What is in the window, as PNG."""
        file.write_bytes(base64.b64decode(self.order("Page.captureScreenshot", format="png")["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, port: int, connection: ClientConnection) -> None:
        self._port = port
        self._connection = connection
        self._ids = itertools.count(1)

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A fresh page without cookies or storage of others."""
        context = self._order("Target.createBrowserContext")["browserContextId"]
        target = self._order("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        url = f"ws://127.0.0.1:{self._port}/devtools/page/{target}"
        try:
            with connect(url, max_size=2**26, ping_interval=None, compression=None) as connection:
                yield Page(connection)
        finally:
            self._order("Target.disposeBrowserContext", browserContextId=context)

    def _order(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])


def chromium() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def running_browser(folder: Path, microphone: Path, more: Sequence[str] = ()) -> Iterator[Browser]:
    """Start it with a profile in `folder`; `microphone` is what it says, once, from when a page first listens to it."""
    program = chromium()
    assert program is not None
    command = [
        program,
        "--headless=new",
        "--no-sandbox",  # tests run as root in containers
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--mute-audio",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--allow-loopback-in-peer-connection",
        "--disable-features=WebRtcHideLocalIpsWithMdns,Translate,MediaRouter",
        *more,
        "about:blank",
    ]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
    try:
        port, path = _listening(folder / "profile" / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=2**26, ping_interval=None, compression=None) as connection:
            yield Browser(port, connection)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _listening(file: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError, ValueError):
            port, path = file.read_text(encoding="utf-8").split("\n")[:2]
            return int(port), path
        assert process.poll() is None, "chromium has ended"
        assert time.monotonic() < deadline, "chromium does not listen"
        time.sleep(0.05)
