"""The demo's output: the conversation live, and the table at the end. Events of the telephone enter, lines leave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from active_call.server.demo.result import DemoResult
from active_call.server.terminal import plain_line


def follow(event: Mapping[str, Any], out: Console, result: DemoResult) -> None:
    """One line from the telephone: print it, and store the summary."""
    if event["kind"] == "summary":
        result.summary = dict(event)
        out.print(result.bye_line, highlight=False)
        return
    latency = f"  [dim]{event['latency_ms']:.0f} ms[/dim]" if event.get("latency_ms") else ""
    at = f"[dim]{event.get('at', 0):6.1f}[/dim] "
    match event["kind"]:
        case "answered":
            out.print(f"{at} [dim]answered after {event['setup_ms']:.0f} ms[/dim]")
        case "agent":
            words = escape(plain_line(event.get("words") or event["text"]))
            cut = "" if event.get("complete", True) else " [dim]… (cut short)[/dim]"
            out.print(f"{at} [cyan]agent [/cyan] {words}{cut}{latency}", highlight=False)
        case "caller":
            out.print(f"{at} [green]caller[/green] {event['text']}", highlight=False)
        case "digit":
            out.print(f"{at} [green]caller[/green] [dim]presses[/dim] {event['text']}", highlight=False)
        case "again":
            out.print(f"{at} [dim]{event['text']}[/dim]", highlight=False)
        case "interruption":
            result.barge_in_ms = event["barge_in_ms"]
            out.print(f"{at} [dim]the agent fell silent {event['barge_in_ms']:.0f} ms after the caller began to speak[/dim]")
        case "ended":
            result.bye_line = f"{at} [dim]hung up by the {event['text'].partition(' ')[0]}[/dim]\n"
        case _:
            pass


def show_end(result: DemoResult, out: Console) -> None:
    """Print the intended and the recognised words of each side, with latencies, set-up times and sound quality."""
    table = Table(title="What was sent", title_justify="left")
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
    for section, engine in result.engines.items():
        out.print(f"{section}: {engine.get('provider')} {engine.get('name', '')} ({engine.get('reason')})", highlight=False)
    if result.words_right is not None:
        asked = f"the caller repeated {len(result.retries)} question(s)" if result.retries else "the caller repeated nothing"
        out.print(f"the agent recognised {result.words_right:.0%} of the caller's words; {asked}", highlight=False)
    if result.model_stopped_ms is not None:
        stopped = f"{result.model_stopped_ms:.0f} ms after the caller began to interrupt"
        out.print(f"the language model stopped writing {stopped}", highlight=False)
    if result.ok:
        out.print("\n[bold green]The conversation went as the story says.[/bold green]")
        out.print(what_next(), highlight=False, markup=False)
    else:
        out.print("\n[bold red]The conversation did not go as the story says:[/bold red]")
        for failure in result.failures:
            out.print(f"  - {failure}", highlight=False, markup=False)


def what_next() -> str:
    """The next steps, with commands and files of this installation."""
    serve = "make serve" if os.environ.get("MAKELEVEL") else "active-call serve"
    files = {"docs/playbooks.md": "how a playbook is written", "README.md": "your own number with Twilio"}
    lines = ["", "What next:"]
    lines.append(f"  {serve:<33} your own server; it writes active-call.toml and config/playbook/greeting.md,")
    lines.append(f"  {'':<33} and prints what to enter at the carrier")
    lines.append(f"  {'active-call playbook check FILE':<33} lists every mistake in a playbook")
    lines += [f"  {name:<33} {what}" for name, what in files.items() if Path(name).is_file() and Path("src/active_call").is_dir()]
    return "\n".join(lines)


def _figures(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if not isinstance(value, dict | list))
