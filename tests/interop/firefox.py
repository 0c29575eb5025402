"""A real Firefox for tests: Debian's `firefox-esr` without a window, driven by WebDriver BiDi (W3C), which it speaks itself.

It grants the microphone, which is a tone of 440 Hz. Without a sound device it runs no AudioContext, so pages cannot speak words.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chromium import START_S, Page, PageError
from websockets.sync.client import ClientConnection, connect

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.peerconnection.ice.loopback": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.enabled": False,
}


class FirefoxPage(Page):
    """One tab. What it logs as an error is kept in `faults`."""

    def __init__(self, connection: ClientConnection, context: str) -> None:
        self._connection = connection
        self._ids = itertools.count(1000)
        self._context = context
        self.faults: list[str] = []
        self.order("session.subscribe", events=["log.entryAdded"])

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
            self.faults.append(str(message["params"]["text"]))

    def before_each_page(self, script: str) -> None:
        """Run `script` in every page before its own scripts."""
        self.order("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise. Values are transported as JSON."""
        wrapped = f"(async () => JSON.stringify({{ value: await ({script}) }}))()"
        told = self.order("script.evaluate", expression=wrapped, target={"context": self._context}, awaitPromise=True, userActivation=True)
        if told["type"] == "exception":
            raise PageError(told["exceptionDetails"]["text"])
        return json.loads(told["result"]["value"]).get("value")

    def go(self, url: str) -> None:
        """Open `url`, as if typed."""
        self.order("browsingContext.navigate", context=self._context, url=url, wait="complete")
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def look(self, width: int, height: int, *, is_phone: bool = False, is_dark: bool = False) -> None:
        """The size of the window. Firefox emulates neither a phone nor a theme here."""
        self.order("browsingContext.setViewport", context=self._context, viewport={"width": width, "height": height})

    def picture(self, file: Path) -> None:
        """What is in the window, as PNG."""
        file.write_bytes(base64.b64decode(self.order("browsingContext.captureScreenshot", context=self._context)["data"]))


def firefox() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def running_firefox(folder: Path) -> Iterator[FirefoxPage]:
    """A Firefox with a fresh profile in `folder`, and its first tab."""
    program = firefox()
    assert program is not None
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0", "about:blank"]
    resources = {**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"}
    with (folder / "firefox.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=resources)
    try:
        with connect(_address(folder, process) + "/session", max_size=2**26, ping_interval=None, compression=None) as connection:
            yield FirefoxPage(connection, _begin(connection))
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where its log says that it listens."""
    deadline = time.monotonic() + 4 * START_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in (folder / "firefox.log").read_text(encoding="utf-8", errors="replace").splitlines():
            if "WebDriver BiDi listening on " in line:
                return line.rpartition(" ")[2].strip()
        time.sleep(0.1)
    raise AssertionError(f"Firefox did not start: {(folder / 'firefox.log').read_text(errors='replace')[-2000:]}")


def _begin(connection: ClientConnection) -> str:
    """Begin a session. Returns its first tab."""
    for number, (method, parameters) in enumerate((("session.new", {"capabilities": {}}), ("browsingContext.getTree", {})), 1):
        connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(connection.recv(timeout=60))).get("id") != number:
            pass
        assert message["type"] == "success", message
    return str(message["result"]["contexts"][0]["context"])
