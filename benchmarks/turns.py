"""How soon the agent takes its turn, and how often too soon: the call's rules on recorded turns of several voices.

    python benchmarks/turns.py [--set tune,held-out] [--rules now,…] [--curve] [--each] [--cuts] [--traces FOLDER] [--record]

The turns of turns.yaml are spoken by the voices below, through a telephone band, noise, G.711, the voice detector, prosody and the
recogniser (the real model, in the time of a free core). The results are stored in a file of traces (`turn_trace`), which is the slow part:
`--record` adds missing ones. The call's own speech input, conversation and turn detector then process each turn (`turn_replay`).

`delay`: from the caller's last sample to the agent's decision. `cut off`: the decision came before the last sample. `sounds`: of these,
the caller did not speak again before a reply that needs 0.15 or 0.3 s would sound; the others are merged inaudibly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from msgspec.structs import replace

from active_call.agent.turn.adaptive_detector import WEIGHTS, AdaptiveTurnDetector, TurnSettings
from active_call.agent.turn.turn_detector import RecogniserTurnDetector, TurnDetector
from active_call.testing.sound.audio import Pcm
from active_call.testing.spoken_calls.call import PlayedTurn
from active_call.testing.spoken_calls.turn_replay import replay_turn
from active_call.testing.spoken_calls.turn_trace import TurnTrace
from traces import FOLDER, SAID_BY, SNR_DB, VOICES, Entry, Recorded, line_of, load

HERE = Path(__file__).parent
ASK = "Hello. What can I do for you?"
REPLIES_S = (0.15, 0.3)
"""How long after the decision a reply sounds: one of a script, one of a fast model."""
NOW = TurnSettings()


@dataclass(frozen=True, slots=True)
class Rules:
    """A method of turn-taking. `end_of_turn_ms`: the call's own timer."""

    detector: TurnDetector
    end_of_turn_ms: int = 550


def adaptive(settings: TurnSettings = NOW, **weights: float) -> Rules:
    """The detector of calls, with other settings or weights."""
    return Rules(AdaptiveTurnDetector(replace(settings, weights=replace(WEIGHTS, **weights))))


RULES = {
    "now": adaptive(),
    "smart-turn": adaptive(replace(NOW, has_judge=True)),
    "deaf": adaptive(falling=0.0, held=0.0, breath=0.0),
    "fixed 550": Rules(RecogniserTurnDetector(), 550),
    "fixed 800": Rules(RecogniserTurnDetector(), 800),
}


def main() -> None:
    """Run and print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="tune,held-out", dest="sets")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--curve", action="store_true", help="the detector of calls, more and less patient")
    parser.add_argument("--each", action="store_true", help="print every turn")
    parser.add_argument("--cuts", action="store_true", help="print the turns that were cut off, or that waited long")
    parser.add_argument("--pipecat", metavar="PYTHON", help="an interpreter that has Pipecat, whose own turn-taking hears the same sound")
    parser.add_argument("--livekit", metavar="PYTHON", help="an interpreter that has livekit-agents, likewise")
    parser.add_argument("--traces", type=Path, default=FOLDER, help="the folder that keeps them")
    parser.add_argument("--record", action="store_true", help="make the traces that are lacking")
    chosen = parser.parse_args()
    for name in chosen.sets.split(","):
        wanted = {key: entry for key, entry in entries() if entry["set"] == name}
        turns = load(chosen.traces / f"turns-{name}.json.gz", wanted, say, record=chosen.record)
        print(f"{name}: {len(turns)} turns of {', '.join(VOICES[name])}", flush=True)
        rules = curve() if chosen.curve else {rule: RULES[rule] for rule in chosen.rules.split(",")}
        for rule, way in rules.items():
            played = [(turn, replay_turn(turn.trace, turn.entry["ask"], way.detector, end_of_turn_ms=way.end_of_turn_ms)) for turn in turns]
            tell(rule, played, each=chosen.each, cuts=chosen.cuts)
        for other, python in (("pipecat", chosen.pipecat), ("livekit", chosen.livekit)):
            if python:
                tell(other, contender(turns, other, python), each=chosen.each, cuts=chosen.cuts)


def curve() -> dict[str, Rules]:
    """The detector of calls, with evidence of `bias` for or against the end of every turn."""
    return {f"bias {bias:+.1f}": adaptive(bias=bias) for bias in (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0)}


def contender(turns: list[Recorded], name: str, python: str) -> list[tuple[Recorded, PlayedTurn]]:
    """The same turns with the method of another program, which does not wait for words."""
    with TemporaryDirectory() as folder:
        lines = [str(Path(folder) / f"{number}.npy") for number in range(len(turns))]
        for turn, line in zip(turns, lines, strict=True):
            np.save(line, line_of(name_of(turn.entry), turn.entry, say))
        program = HERE / "contenders" / f"{name}_turns.py"
        done = subprocess.run([python, program], input=json.dumps({"lines": lines}), capture_output=True, text=True, check=True)
    decided = json.loads(done.stdout.splitlines()[-1])["decided"]
    return [
        (turn, PlayedTurn(turn.trace.began, turn.trace.ended, [] if at is None else [at])) for turn, at in zip(turns, decided, strict=True)
    ]


def tell(name: str, played: list[tuple[Recorded, PlayedTurn]], *, each: bool, cuts: bool) -> None:
    """Print the row of `name`."""
    delays = [turn.delay_s * 1000 for _, turn in played if turn.delay_s is not None]
    cut = [(recorded, turn) for recorded, turn in played if turn.is_cut_off]
    n_silent = sum(not turn.answers for _, turn in played)
    heard = "/".join(str(sum(sounds(recorded.trace, turn.answers[0], reply_s) for recorded, turn in cut)) for reply_s in REPLIES_S)
    print(
        f"  {name:12} cut off {len(cut):3} ({100 * len(cut) / len(played):4.1f} %), sounds {heard:>5}  no answer {n_silent}  delay median "
        f"{median(delays):4.0f}  p95 {np.percentile(delays, 95):5.0f}  within 200 ms {sum(delay <= 200 for delay in delays)}",
        flush=True,
    )
    for recorded, turn in played:
        if each or (cuts and (turn.is_cut_off or turn.delay_s is None or turn.delay_s > 0.8)):
            delay = "cut off" if turn.is_cut_off else "nothing" if turn.delay_s is None else f"{turn.delay_s * 1000:.0f}"
            print(
                f"    {delay:>8} {recorded.entry['voice']}/{recorded.entry['snr_db']:.0f} {_says(recorded)} -> {turn.heard!r}", flush=True
            )


def sounds(trace: TurnTrace, decided_at: float, reply_s: float) -> bool:
    """The reply, `reply_s` after the decision, sounds before the caller speaks again."""
    return all(not decided_at <= start.detected_at < decided_at + reply_s for start in trace.starts())


# -- the turns


def entries() -> Iterator[tuple[str, Entry]]:
    """Every turn of the set by name: its voice and its line."""
    sets = yaml.safe_load((HERE / "turns.yaml").read_text(encoding="utf-8"))
    for name in (*sets, *SAID_BY):
        for number, entry in enumerate(sets[SAID_BY.get(name, name)]):
            for place, voice in enumerate(VOICES[name]):
                snr_db = SNR_DB[(number + place) % len(SNR_DB)]
                ask = entry.get("ask", ASK)
                said = {"set": name, "voice": voice, "snr_db": snr_db, "ask": ask, "say": entry["say"]}
                yield name_of(said), said


def name_of(entry: Entry) -> str:
    """The name of a turn's trace."""
    return f"{entry['voice']}/{entry['snr_db']:.0f} {entry['ask']} {json.dumps(entry['say'])}"


def say(entry: Entry) -> Pcm:
    """The spoken sound."""
    from active_call.bench.evals import speech

    return speech.with_pauses(entry["say"], entry["voice"])


def _says(recorded: Recorded) -> str:
    return " ".join(part if isinstance(part, str) else f"[{part}]" for part in recorded.entry["say"])


if __name__ == "__main__":
    main()
