"""How soon the agent takes its turn, and how often too soon, for sets of weights of the turn detector: calls with real sound.

    python benchmarks/turns.py [--sets now,…] [--lines piper:joe/44,flite:rms/20] [--cache FILE] [--each]

Every entry of turns.yaml is a call in virtual time: the agent asks, the caller says it with its pauses, through G.711, the voice detector,
prosody, the recogniser's partial and final texts (the real model, in the time of a free core) and the detector of turns.

`delay`: from the last sample of the caller to the first of the agent (the synthesis takes none: it is the end of the turn). `cut off`:
the agent began to speak before the last sample.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import yaml

from active_call.agent.turn import adaptive_detector
from active_call.agent.turn.adaptive_detector import TurnWeights
from active_call.bench.evals import speech
from active_call.testing.spoken_calls.call import PlayedTurn, play_call
from active_call.testing.spoken_calls.recogniser import Ear

NOW = TurnWeights()
SETS = {
    "now": NOW,
    "flat": replace(NOW, first_threshold=0.8),
    "eager": replace(NOW, complete=2.0, open=0.6, leading=0.3),
    "before": replace(NOW, question=1.2, complete=1.2, leading=3.5),
    "calm": replace(NOW, question=1.2, complete=0.8, open=-0.5, leading=-1.0),
    "deaf": replace(NOW, falling=0.0, held=0.0, breath=0.0),
}


def main() -> None:
    """Run and print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--lines", default="piper:joe/44,flite:rms/20")
    parser.add_argument("--cache", type=Path, help="keep what the model hears here")
    parser.add_argument("--each", action="store_true", help="print every turn")
    chosen = parser.parse_args()
    entries = yaml.safe_load((Path(__file__).parent / "turns.yaml").read_text(encoding="utf-8"))
    ear = Ear(chosen.cache)
    for name in chosen.sets.split(","):
        with mock.patch.object(adaptive_detector, "WEIGHTS", SETS[name]):
            played = list(_play(entries, chosen.lines.split(","), ear))
        ear.keep()
        _tell(name, played, each=chosen.each)


def _play(entries: list[dict[str, Any]], lines: list[str], ear: Ear) -> Iterator[tuple[str, PlayedTurn]]:
    with TemporaryDirectory() as folder:
        for number, entry in enumerate(entries):
            playbook = Path(folder) / f"{number}.md"
            greeting = entry.get("ask", "Hello. What can I do for you?")
            playbook.write_text(f"---\nllm: {{provider: script}}\ngreeting: {greeting}\n---\n## *\nI see.\n", encoding="utf-8")
            for line in lines:
                voice, _, snr_db = line.partition("/")
                sound = speech.with_pauses(entry["say"], voice)
                played = play_call(playbook, [sound], speech.bed("hiss", float(snr_db)), ear)
                for turn in played.turns:
                    yield f"{line} {entry['say']}", turn


def _tell(name: str, played: list[tuple[str, PlayedTurn]], *, each: bool) -> None:
    delays = [turn.delay_s * 1000 for _, turn in played if turn.delay_s is not None]
    n_cut = sum(turn.is_cut_off for _, turn in played)
    n_silent = sum(not turn.answers for _, turn in played)
    soon = sum(delay <= 200 for delay in delays)
    print(
        f"{name:8} turns {len(played)}  cut off {n_cut} ({100 * n_cut / len(played):.1f} %)  no answer {n_silent}  delay median "
        f"{median(delays):.0f}  p95 {np.percentile(delays, 95):.0f} ms  within 200 ms {soon}",
        flush=True,
    )
    for said, turn in played if each else ():
        delay = "cut off" if turn.is_cut_off else "nothing" if turn.delay_s is None else f"{turn.delay_s * 1000:.0f}"
        print(f"    {delay:>8} {said} -> {turn.heard!r}", flush=True)


if __name__ == "__main__":
    main()
