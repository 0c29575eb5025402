"""`active-call eval`: synthetic callers call a server, and its answers are evaluated. Exit 0: passed, 1: failed, 2: cannot be run."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from active_call.bench.command_line import finite, run_command
from active_call.bench.evals.call import Played, play_persona, sounds_of
from active_call.bench.evals.persona import Persona, load_persona
from active_call.bench.evals.target import Target, TargetError, started
from active_call.bench.evals.verdict import Verdict, judge, junit, summary
from active_call.testing.sound import audio, listening, voice

_PLACES = (Path(__file__).parent / "shipped", Path(__file__).parents[4] / "evals")
"""The shipped set: in the installed package, else in the source tree."""
_GAP_MS = 500
SHIPPED_CALLERS = max(1, min(4, os.cpu_count() or 1))
"""Callers of the shipped set at the same time: each with the server's engines takes most of a core."""


def shipped_folder() -> Path:
    """Where the shipped personas and their playbook are. Raises ValueError if they are not installed."""
    for place in _PLACES:
        if (place / "playbook.md").is_file():
            return place
    raise ValueError("the shipped personas are not installed; name persona files")


class Options(Struct, frozen=True):
    """The options of the command line."""

    personas: list[Path]
    sip: str
    url: str
    token: str
    playbook: Path | None
    callers: int
    max_seconds: float
    out: Path | None
    json: bool


def main(
    personas: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Persona files (YAML); default: the shipped set.")] = None,
    sip: Annotated[str, typer.Option(metavar="URI", help="SIP URI of a running server; without it one is started.")] = "",
    url: Annotated[str, typer.Option(help="HTTP API of the running server, where records are read: http://127.0.0.1:8080.")] = "",
    token: Annotated[str, typer.Option(help="A token of the HTTP API.")] = "",
    playbook: Annotated[Path | None, typer.Option(help="Playbook of the server that is started.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Play only the part of the shipped set that fits into a minute.")] = False,
    bounds: Annotated[bool, typer.Option("--bounds", help="Also compare the figures of own personas with the bounds.")] = False,
    callers: Annotated[int, typer.Option(min=0, help="Callers at the same time; 0: one, for the shipped set one for each core.")] = 0,
    max_seconds: Annotated[float, typer.Option(min=0, callback=finite, metavar="SECONDS", help="Then place no further calls.")] = 900.0,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write stereo recordings to this folder: caller left, agent right.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON, one object a line; the last one has the figures.")] = False,
) -> None:
    """Test an agent with synthetic callers over real SIP, and judge what is heard."""
    chosen = Options(personas or [], sip, url, token, playbook, callers, max_seconds, out, as_json)
    sys.setswitchinterval(0.001)  # the sending thread must run before its packet is late
    try:
        is_shipped = not chosen.personas
        files = sorted(shipped_folder().glob("*.yaml")) if is_shipped else chosen.personas
        played = [load_persona(path) for path in files]
        if quick:
            played = [one for one in played if one.quick or not is_shipped]
        with _target(chosen) as target:
            verdicts = _run(played, target, chosen, callers or (SHIPPED_CALLERS if is_shipped else 1))
    except FileNotFoundError as error:
        print(f"eval: {error.filename}: there is no such file", file=sys.stderr)
        raise typer.Exit(2) from None
    except (OSError, ValueError, TargetError, voice.VoiceError) as error:
        print(f"eval: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    total = summary(verdicts, bounded=is_shipped or bounds)
    if junit_file:
        junit_file.write_bytes(junit(verdicts, total["out_of_bounds"]))
    if as_json:
        print(json.dumps(total), flush=True)
    else:
        for name, value in total.items():
            print(f"{name:28} {value}", flush=True)
    raise typer.Exit(0 if total["ok"] else 1)


def _target(chosen: Options) -> AbstractContextManager[Target]:
    if chosen.sip:
        return nullcontext(Target(chosen.sip, chosen.url.rstrip("/"), chosen.token))
    if chosen.url:
        raise ValueError("--url needs --sip, the URI to call")
    return started(chosen.playbook or shipped_folder() / "playbook.md", still=chosen.playbook is None)


def _run(personas: Sequence[Persona], target: Target, chosen: Options, n_callers: int) -> list[Verdict]:
    """Play all personas, `n_callers` at once, and judge them. What takes much processor time is done before or after the calls."""
    sounds = [sounds_of(persona) for persona in personas]
    deadline = time.monotonic() + chosen.max_seconds

    def call(number: int) -> Played:
        if time.monotonic() > deadline:
            return Played("", failures=[f"not called: {chosen.max_seconds:g} s are over"])
        return play_persona(personas[number], target.uri, sounds[number], chosen.out)

    verdicts: dict[int, Verdict] = {}
    played: list[Played] = []
    with ThreadPoolExecutor(n_callers, "caller") as callers:
        for number, one in enumerate(callers.map(call, range(len(personas)))):
            played.append(one)
            if n_callers == 1 or not personas[number].expect.get("heard"):
                verdicts[number] = _judged(personas[number], one, target, chosen)
    for number, one in enumerate(played):
        if number not in verdicts:
            verdicts[number] = _judged(personas[number], one, target, chosen)
    return [verdicts[number] for number in range(len(personas))]


def _judged(persona: Persona, played: Played, target: Target, chosen: Options) -> Verdict:
    if not played.caller:
        verdict = Verdict(persona, played, tuple(played.failures), "")
    else:
        heard = _words_heard(played) if persona.expect.get("heard") else ""
        verdict = judge(persona, played, target.record_of(played.caller), heard)
    _report(verdict, as_json=chosen.json)
    return verdict


def _words_heard(played: Played) -> str:
    """The agent's words, recognised from its sound by the local recogniser, after the call."""
    from active_call.providers.asr import moonshine_engine

    if moonshine_engine.model_folder() is None:
        raise ValueError("expect.heard needs a recogniser: pip install 'active-call[local]'")
    texts = []
    for one in listening.utterances(played.agent, gap_ms=_GAP_MS):
        pcm = played.agent[max(one.start - 1600, 0) : one.end + 1600]
        texts.append(moonshine_engine.transcribe(audio.resample(pcm, audio.RATE_HZ, 16_000).tobytes(), thorough=True)[0])
    return " ".join(texts)


def _report(verdict: Verdict, *, as_json: bool) -> None:
    replies = [round(one.reply_ms) for one in verdict.played.findings if one.reply_ms is not None]
    line = {
        "persona": verdict.persona.name,
        "ok": not verdict.failures,
        "seconds": verdict.played.seconds,
        "reply_ms": replies,
        "end_of_turn_ms": [round(turn["endOfTurnWait"]) for turn in verdict.turns if turn.get("endOfTurnWait") is not None],
        "waits_ms": [_waits(turn) for turn in verdict.turns if turn.get("waits")],
        "understood": [str(turn.get("text", "")) for turn in verdict.turns if turn.get("speaker") == "caller"],
        "failures": list(verdict.failures),
    }
    text = f"{'ok  ' if line['ok'] else 'FAIL'} {line['persona']:32} {line['seconds']:5} s  replies {replies} {'; '.join(verdict.failures)}"
    print(json.dumps(line) if as_json else text, flush=True)


def _waits(turn: Mapping[str, Any]) -> dict[str, int]:
    """What a reply waited for, in ms: each owner of `contract.events.TurnWait`."""
    total: Counter[str] = Counter()
    for wait in turn["waits"]:
        total[str(wait["owner"])] += round(wait["duration"])
    return dict(total)


if __name__ == "__main__":
    sys.exit(run_command(main, "active-call eval"))
