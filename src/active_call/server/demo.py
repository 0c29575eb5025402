"""`active-call demo`: the main job on this machine. A server here, a simulated telephone in another process, a call over TLS and SRTP.

What counts as success is decided from sound that crossed the wire: the telephone recognises what it received, the agent what it received.
Neither is asked what it meant to say, except to print it beside what was heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from active_call.base.errors import ActiveCallError
from active_call.call.handle import CallHandle
from active_call.contract import events
from active_call.server.certificate import write_development_certificate
from active_call.server.composition import Running, running
from active_call.server.config.loading import load_config
from active_call.server.starter_files import starter_text

STORY_DEADLINE_S = 120.0
RECORD_DEADLINE_S = 10.0
MIN_RECORDING_S = 20.0

AGENT_LINES = {
    "greeting": "Welcome to Harbour Street Bakery. How may I help you?",
    "hours": "We are open from nine in the morning until five in the afternoon.",
    "place": "You will find us in the old harbour, right behind the market hall.",
    "news": "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. On Tuesday there are cinnamon rolls,"
    " warm from the oven. On Wednesday the children of the village come to visit us and make their own pizza. On Thursday we rest.",
    "stopped": "Of course. What else would you like to know?",
    "goodbye": "Thank you for calling. Have a wonderful day.",
}
DECOYS = ("I am sorry, I did not understand that.", "Your number is not in service.", "Please hold the line.")
STEPS: tuple[dict[str, Any], ...] = (
    {"do": "listen", "expect": ["greeting"]},
    {"do": "say", "text": "when are you open"},
    {"do": "listen", "expect": ["hours"]},
    {"do": "say", "text": "where is your shop"},
    {"do": "listen", "expect": ["place"]},
    {"do": "press", "digit": "2"},
    {"do": "interrupt", "text": "that is enough thank you", "after_s": 4.0},
    {"do": "listen", "expect": ["stopped"]},
    {"do": "say", "text": "thank you goodbye"},
    {"do": "listen", "expect": ["goodbye"]},
    {"do": "expect_hangup", "timeout_s": 10},
)
SUCCESS = {"max_violations": 0, "ended_by": "agent", "max_barge_in_ms": 1000, "max_latency_ms": 5000}
CALLER_VOICE = "en-us+f2"
"""Unlike the agent's, and one that the embedded recogniser understands with a wide margin."""
CALLER_SAID = tuple(step["text"] for step in STEPS if "text" in step)


@dataclass(slots=True)
class DemoResult:
    """What the demo found. `turns`: who, text (meant), heard (recognised by the other side), latency_ms."""

    ok: bool = False
    failures: list[str] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    recording: str = ""
    record: str = ""
    barge_in_ms: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    farewell: str = ""
    """The line that says who hung up; it comes before the last sentence is recognised, and is shown after it."""

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "ok": self.ok,
            "turns": self.turns,
            "recording": self.recording,
            "record": self.record,
            "barge_in_ms": self.barge_in_ms,
            "failures": self.failures,
            "latency_ms": self.summary.get("latency_ms", {}),
            "setup_ms": self.summary.get("setup_ms", {}),
            "audio": self.summary.get("audio", {}),
            "violations": self.summary.get("violations", []),
        }


async def run_demo(folder: Path, out: Console) -> DemoResult:
    """Play the whole call; recording and record end up in `folder`. Raises ActiveCallError when something it needs is missing."""
    folder = _made(folder)
    out.print("[bold]active-call demo[/bold]: a caller dials in over TLS with SRTP, and the two talk.\n")
    result = DemoResult()
    async with _server(folder) as server:
        heard_by_agent = _watch_calls(server)
        tls_port = next(entry.bound.port for entry in server.listeners if entry.transport == "tls")
        await _play_story(f"sip:+15550199@127.0.0.1:{tls_port};transport=tls", folder, out, result)
        record = await _wait_record(server, result)
    _judge(result, record, heard_by_agent)
    _show_end(result, out)
    return result


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[Running]:
    with TemporaryDirectory(prefix="active-call-demo-") as temporary:
        home = Path(temporary)
        (home / "demo.md").write_text(starter_text("demo.md"), encoding="utf-8")
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
            "handler": {"type": "playbook", "default": str(home / "demo.md")},
            "recording": {"enabled": True, "path": str(folder)},
            "callrecord": {"type": "local", "root": str(folder)},
            "graceful_shutdown_timeout": 2,
        }
        async with running(load_config(None, overrides, os.environ)) as server:
            yield server


def _watch_calls(server: Running) -> list[str]:
    """What the agent recognised, in order; filled while the call goes on."""
    heard: list[str] = []

    async def follow(call: CallHandle) -> None:
        async for item in call.subscribe():
            match item.event:
                case events.AsrFinal(text=text):
                    heard.append(text)

    following: set[asyncio.Task[None]] = set()
    server.registry.on_new_call = lambda call: following.add(asyncio.create_task(follow(call), name="demo follows a call"))
    return heard


async def _play_story(uri: str, folder: Path, out: Console, result: DemoResult) -> None:
    """Run the telephone in its own process and follow what it tells."""
    story = {"agent": AGENT_LINES, "decoys": list(DECOYS), "voice": CALLER_VOICE, "steps": list(STEPS), "success": SUCCESS}
    phone_folder = folder / "phone"
    phone_folder.mkdir(exist_ok=True)
    (phone_folder / "story.json").write_text(json.dumps(story, indent=2), encoding="utf-8")
    command = [sys.executable, "-m", "active_call.testing.phone", "--uri", uri, "--transport", "tls", "--srtp", "--json-lines"]
    command += ["--story", str(phone_folder / "story.json"), "--out", str(phone_folder)]
    phone = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert phone.stdout is not None  # noqa: S101
    assert phone.stderr is not None  # noqa: S101
    try:
        async with asyncio.timeout(STORY_DEADLINE_S):
            async for line in phone.stdout:
                _follow(json.loads(line), out, result)
            complaint = (await phone.stderr.read()).decode().strip()
            await phone.wait()
    except TimeoutError:
        phone.kill()
        await phone.wait()
        complaint = f"the story was not over after {STORY_DEADLINE_S:g} s"
    if not result.summary:
        raise ActiveCallError(complaint or "the simulated telephone ended without a summary")


def _follow(event: Mapping[str, Any], out: Console, result: DemoResult) -> None:
    """One line from the telephone: print it, and keep the summary."""
    if event["kind"] == "summary":
        result.summary = dict(event)
        out.print(result.farewell, highlight=False)
        return
    latency = f"  [dim]{event['latency_ms']:.0f} ms[/dim]" if event.get("latency_ms") else ""
    at = f"[dim]{event.get('at', 0):6.1f}[/dim] "
    match event["kind"]:
        case "answered":
            out.print(f"{at} [dim]answered after {event['setup_ms']:.0f} ms[/dim]")
        case "agent":
            words = event.get("words") or event["text"]
            cut = "" if event.get("complete", True) else " [dim]… (cut short)[/dim]"
            out.print(f"{at} [cyan]agent [/cyan] {words}{cut}{latency}", highlight=False)
        case "caller":
            out.print(f"{at} [green]caller[/green] {event['text']}", highlight=False)
        case "digit":
            out.print(f"{at} [green]caller[/green] [dim]presses[/dim] {event['text']}", highlight=False)
        case "interruption":
            result.barge_in_ms = event["barge_in_ms"]
            out.print(f"{at} [dim]the agent fell silent {event['barge_in_ms']:.0f} ms after the caller began to speak[/dim]")
        case "ended":
            result.farewell = f"{at} [dim]hung up by the {event['text'].partition(' ')[0]}[/dim]\n"
        case _:
            pass


async def _wait_record(server: Running, result: DemoResult) -> dict[str, Any]:
    """The call's record, which the server writes when it is over."""
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


def _judge(result: DemoResult, record: Mapping[str, Any], heard_by_agent: list[str]) -> None:
    """Put both sides together: what each meant, what the other heard."""
    result.failures += result.summary.get("failures", [])
    meant = [line["text"] for line in record.get("turns", []) if line["speaker"] == "agent"]
    said = list(heard_by_agent)
    for turn in result.summary.get("turns", []):
        if turn["kind"] == "agent":
            heard = turn.get("words") or turn["text"]
            text = meant.pop(0) if meant else ""
            result.turns.append({"who": "agent", "text": text, "heard": heard, "latency_ms": turn.get("latency_ms")})
        elif turn["kind"] == "caller":
            result.turns.append({"who": "caller", "text": turn["text"], "heard": "", "latency_ms": None})
        elif turn["kind"] == "digit":
            pressed = [event["digit"] for event in record.get("events", []) if event.get("event") == "dtmf"]
            result.turns.append({"who": "caller", "text": turn["text"], "heard": "".join(pressed), "latency_ms": None})
            if pressed != [turn["text"]]:
                result.failures.append(f"the caller pressed {turn['text']}, the agent received {pressed}")
    spoken = [turn for turn in result.turns if turn["who"] == "caller" and turn["text"] in CALLER_SAID]
    for turn in spoken:
        turn["heard"] = said.pop(0) if said else ""
        if turn["heard"] != turn["text"]:
            result.failures.append(f"the caller said {turn['text']!r}, the agent heard {turn['heard']!r}")
    if record:
        _judge_record(result, record)
    result.ok = not result.failures and len(spoken) == len(CALLER_SAID)


def _judge_record(result: DemoResult, record: Mapping[str, Any]) -> None:
    if record.get("status") != "answered" or record.get("error"):
        result.failures.append(f"the record says {record.get('status')}: {record.get('error')}")
    if record.get("hangupBy") != "agent":
        result.failures.append(f"the record says that {record.get('hangupBy')} hung up")
    if (record.get("recordingMs") or 0) < MIN_RECORDING_S * 1000 or not Path(result.recording).is_file():
        result.failures.append("there is no whole recording")
    if not any(turn.get("interrupted") for turn in record.get("turns", [])):
        result.failures.append("nothing was interrupted")


def _show_end(result: DemoResult, out: Console) -> None:
    table = Table(title="What crossed the wire", title_justify="left")
    for heading, justify in (("who", "left"), ("meant", "left"), ("heard by the other side", "left"), ("latency ms", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for turn in result.turns:
        latency = f"{turn['latency_ms']:.0f}" if turn["latency_ms"] else ""
        table.add_row(turn["who"], turn["text"], turn["heard"], latency)
    out.print(table)
    audio, setup = result.summary.get("audio", {}), result.summary.get("setup_ms", {})
    out.print(f"\nsetup: {_figures(setup)} ms", highlight=False)
    out.print(f"audio received by the caller: {_figures(audio)}", highlight=False)
    out.print(f"recording (left caller, right agent): {result.recording}", highlight=False, soft_wrap=True)
    out.print(f"call record: {result.record}", highlight=False, soft_wrap=True)
    if result.ok:
        out.print("\n[bold green]The conversation happened as the story says.[/bold green]")
        out.print(what_next(), highlight=False, markup=False)
    else:
        out.print("\n[bold red]It did not happen as the story says:[/bold red]")
        for failure in result.failures:
            out.print(f"  - {failure}", highlight=False, markup=False)


def what_next() -> str:
    """What to do now, in commands and files that this installation has."""
    serve = "make serve" if os.environ.get("MAKELEVEL") else "active-call serve"
    files = {"docs/playbooks.md": "how a playbook is written", "README.md": "Twilio in ten lines"}
    lines = ["", "What next:"]
    lines.append(f"  {serve:<33} your own server; it writes active-call.toml and config/playbook/greeting.md,")
    lines.append(f"  {'':<33} and prints what to enter at the carrier")
    lines.append(f"  {'active-call playbook check FILE':<33} everything that is wrong with a playbook")
    lines += [f"  {name:<33} {what}" for name, what in files.items() if Path(name).is_file() and Path("src/active_call").is_dir()]
    return "\n".join(lines)


def _figures(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if not isinstance(value, dict | list))
