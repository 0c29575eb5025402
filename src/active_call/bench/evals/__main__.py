"""`active-call eval`: synthetic callers call a server, and its answers are evaluated. Exit 0: passed, 1: failed, 2: cannot be run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    chosen = _arguments(arguments)
    sys.setswitchinterval(0.001)  # the sending thread must run before its packet is late
    try:
        shipped = not chosen.personas
        files = sorted(shipped_folder().glob("*.yaml")) if shipped else chosen.personas
        personas = [load_persona(path) for path in files]
        if chosen.quick:
            personas = [one for one in personas if one.quick or not shipped]
        with _target(chosen) as target:
            verdicts = _run(personas, target, chosen, chosen.callers or (SHIPPED_CALLERS if shipped else 1))
    except FileNotFoundError as error:
        print(f"eval: {error.filename}: there is no such file", file=sys.stderr)
        return 2
    except (OSError, ValueError, TargetError, voice.VoiceError) as error:
        print(f"eval: {error}", file=sys.stderr)
        return 2
    total = summary(verdicts, bounded=shipped or chosen.bounds)
    if chosen.junit:
        chosen.junit.write_bytes(junit(verdicts, total["out_of_bounds"]))
    if chosen.json:
        print(json.dumps(total), flush=True)
    else:
        for name, value in total.items():
            print(f"{name:28} {value}", flush=True)
    return 0 if total["ok"] else 1


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="active-call eval", description="Call a server as spoken callers, and judge what is heard.")
    parser.add_argument("personas", nargs="*", type=Path, help="persona files (YAML); without them the shipped set")
    parser.add_argument("--sip", default="", help="SIP URI of a running server; without it one is started")
    parser.add_argument("--url", default="", help="HTTP API of the running server, where records are read: http://127.0.0.1:8080")
    parser.add_argument("--token", default="", help="bearer token of the HTTP API")
    parser.add_argument("--playbook", type=Path, help="playbook of the server that is started")
    parser.add_argument("--quick", action="store_true", help="of the shipped set only what fits into a minute")
    parser.add_argument("--bounds", action="store_true", help="hold the figures of own personas against the bounds, too")
    parser.add_argument("--callers", type=int, default=0, help="call with so many at once; unset: 1, for the shipped set one for each core")
    parser.add_argument("--max-seconds", type=float, default=900.0, help="call no more after this time")
    parser.add_argument("--junit", type=Path, help="write JUnit XML")
    parser.add_argument("--out", type=Path, help="keep stereo recordings here: left the caller, right the agent")
    parser.add_argument("--json", action="store_true", help="one JSON object a line; the last one has the figures")
    return parser.parse_args(arguments)


def _target(chosen: argparse.Namespace) -> AbstractContextManager[Target]:
    if chosen.sip:
        return nullcontext(Target(chosen.sip, chosen.url.rstrip("/"), chosen.token))
    if chosen.url:
        raise ValueError("--url needs --sip, the URI to call")
    return started(chosen.playbook or shipped_folder() / "playbook.md", still=chosen.playbook is None)


def _run(personas: Sequence[Persona], target: Target, chosen: argparse.Namespace, n_callers: int) -> list[Verdict]:
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


def _judged(persona: Persona, played: Played, target: Target, chosen: argparse.Namespace) -> Verdict:
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
    sys.exit(main())
