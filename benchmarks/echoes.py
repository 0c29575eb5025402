"""The agent's own voice comes back from the caller's side: it must not interrupt itself, and the caller must still be able to.

    python benchmarks/echoes.py [--set tune,held-out] [--without]

A long statement of the agent is echoed with a delay, at a level, directly or through a room; some callers say something over it. The sound
goes through G.711, the receiving half of the media process and the recogniser, the words through the call, all in virtual time. The echo
follows the playout. `--without` keeps the media process from knowing what it sends, as before the echo was recognised.

`false`: the agent stopped, or paused, although nobody wanted the turn. `missed`: the caller wanted it, and the agent went on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from active_call.bench.evals import speech
from active_call.testing.sound.audio import RATE_HZ, Pcm
from active_call.testing.spoken_calls.echo_call import Echo, EchoedCall, play_echo
from active_call.testing.spoken_calls.recogniser import CachedRecogniser

STATEMENTS = {
    "tune": "Here is the news of the week. The first tulips have arrived from Holland, in red, yellow and white, and until Friday you get "
    "twelve of them for the price of ten. On Wednesday afternoon our gardener explains how to bring your roses through the winter.",
    "held-out": "Your order is ready since Tuesday. Please wait for the message before you come, and excuse me for asking, but do bring "
    "the receipt. If you need help on the way, say hello to the operator at the door. Our doors are open until seven in the evening.",
}
AGENTS = {"tune": ("piper:joe",), "held-out": ("flite:rms", "piper:joe*1.2")}
CALLERS = {"tune": "flite:slt", "held-out": "flite:awb"}
DELAYS_S = {"tune": (0.06, 0.3), "held-out": (0.1, 0.22)}
LEVELS_DB = {"tune": (-6, -12, -18, -25), "held-out": (-8, -14, -21)}
INTERRUPTS = {
    "tune": ("Yes, but how much does it cost?", "Stop please."),
    "held-out": ("No, that is not what I meant.", "Can I ask you something?"),
}
LISTENS = {"tune": ("Okay.", "Mm hmm."), "held-out": ("Right.", "I see.")}
SAID_AT_S = (3.0, 5.2)
ROOM_S = 0.3
SNR_DB = 30.0
"""The noise of the line."""

Case = tuple[str, float, int, bool, str]
"""Agent's voice, delay, level, whether through a room, what the caller says."""


def main() -> None:
    """Run and print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="tune,held-out", dest="sets")
    parser.add_argument("--without", action="store_true", help="the media process does not know what it sends")
    chosen = parser.parse_args()
    receiver = CachedRecogniser()
    for name in chosen.sets.split(","):
        outcomes = [(case, call_of(name, number, case, receiver, is_known=not chosen.without)) for number, case in enumerate(cases(name))]
        tell(name, outcomes)


def cases(name: str) -> Iterator[Case]:
    """Echo alone; then the caller's words over it, and over none."""
    for voice in AGENTS[name]:
        for is_room in (False, True):
            yield from ((voice, delay, level, is_room, "") for delay in DELAYS_S[name] for level in LEVELS_DB[name])
        for said in (*INTERRUPTS[name], *LISTENS[name]):
            yield from ((voice, DELAYS_S[name][0], level, True, said) for level in (*LEVELS_DB[name], -99))


def call_of(name: str, number: int, case: Case, receiver: CachedRecogniser, *, is_known: bool) -> EchoedCall:
    """Make the call of one case."""
    voice, delay_s, level_db, is_room, said = case
    echo = Echo(delay_s, 10 ** (level_db / 20), room(number) if is_room else None) if level_db > -99 else None
    with TemporaryDirectory() as folder:
        book = Path(folder) / "echo.md"
        greeting = json.dumps(STATEMENTS[name])
        book.write_text(f"---\nllm: {{provider: script}}\ngreeting: {greeting}\n---\n## *\nI see.\n", encoding="utf-8")
        spoken = (SAID_AT_S[number % 2], sound(said, CALLERS[name])) if said else None
        return play_echo(
            book, lambda text: sound(text, voice), speech.bed("hiss", SNR_DB), receiver, echo=echo, said=spoken, is_known=is_known
        )


def tell(name: str, outcomes: list[tuple[Case, EchoedCall]]) -> None:
    """Print the row of `name`, and each mistake."""
    alone = [(case, call) for case, call in outcomes if not case[4]]
    interrupts = [(case, call) for case, call in outcomes if case[4] in INTERRUPTS[name]]
    listens = [(case, call) for case, call in outcomes if case[4] in LISTENS[name]]
    stopped = [each for each in alone if each[1].cut_at is not None]
    paused = [each for each in alone if each[1].paused_at]
    false = [each for each in listens if each[1].cut_at is not None]
    missed = [each for each in interrupts if each[1].cut_at is None or each[1].cut_at < SAID_AT_S[0]]
    print(
        f"{name}: echo alone {len(alone)}, stopped {len(stopped)}, paused {len(paused)}  listens {len(listens)}, false {len(false)}  "
        f"interrupts {len(interrupts)}, missed {len(missed)}",
        flush=True,
    )
    for case, call in (*paused, *false, *missed):
        print(f"    {case} paused {[round(at, 1) for at in call.paused_at]} cut {call.cut_at} heard {call.heard}", flush=True)


@lru_cache(maxsize=256)
def sound(text: str, voice: str) -> Pcm:
    """The spoken text."""
    return speech.say(text, voice)


def room(seed: int) -> Pcm:
    """The response of a room: the direct sound, and a tail that is 60 dB softer after `ROOM_S`."""
    length = round(ROOM_S * RATE_HZ)
    tail = np.random.default_rng(seed).normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
    response: Pcm = 0.7 * tail / np.sqrt((tail**2).sum())
    response[0] += 1.0
    return response


if __name__ == "__main__":
    main()
