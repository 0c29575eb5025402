"""A caller's part, played by a `Phone` and judged from the audio it received.

Enters: a story (JSON) with the sentences an agent may say, decoys, the caller's steps and what counts as success. Leaves: one JSON line for
each thing that happens, while it happens, then a summary; in the output folder `summary.json` and `call.wav` (left the caller, right the
agent). It must not know what the program meant to do: a sentence counts when it was heard.

    {"agent": {"greeting": "Hello, how can I help you?"}, "decoys": ["Goodbye."], "voice": "en-gb+f3",
     "steps": [{"do": "listen", "expect": ["greeting"], "silence_ms": 800, "timeout_s": 15},
               {"do": "say", "text": "What is my balance?"}, {"do": "press", "digit": "1"},
               {"do": "interrupt", "text": "Stop.", "after_s": 1.0},
               {"do": "pause", "seconds": 1}, {"do": "hang_up"}, {"do": "expect_hangup", "timeout_s": 10}],
     "success": {"max_latency_ms": 1500, "max_barge_in_ms": 400, "max_violations": 0, "ended_by": "agent"}}

`agent` may be a list; a sentence is then its own name. Times in events are seconds since dialling.

An open conversation has `"listening": "open"`: the agent's speech is heard freely and compared with its sentences (`open_listening`), and
`{"do": "ask", "text": "When are you open?", "expect": ["hours"], "again": ["Are you open today?"]}` says a sentence and waits for the
answer; if another one comes, or none, it says the next sentence of `again`, like a caller who was not understood. Without `expect`
any answer of at least two words will do. An `interrupt` with `or_after` is simply said when the agent has come to its end before. A voice
`piper:joe*1.2` is natural (`natural_voice`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from active_call.testing.sound import voice

DEFAULT_SILENCE_MS = 800
_STEPS = {
    "listen": ({"expect", "silence_ms", "timeout_s"}, set()),
    "say": ({"text"}, {"text"}),
    "ask": ({"text", "expect", "again", "silence_ms", "timeout_s"}, {"text"}),
    "press": ({"digit"}, {"digit"}),
    "interrupt": ({"text", "after_s", "timeout_s", "or_after"}, {"text"}),
    "pause": ({"seconds"}, {"seconds"}),
    "hang_up": (set(), set()),
    "expect_hangup": ({"timeout_s"}, set()),
}
"""Each step with the keys it may have and those it must have."""
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Success:
    """Conditions for the whole story; `None` means no condition."""

    max_violations: int = 0
    max_latency_ms: float | None = None
    max_barge_in_ms: float | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A story, read and checked. `lines` are the agent's sentences by name."""

    lines: Mapping[str, str]
    steps: Sequence[Mapping[str, Any]]
    decoys: Sequence[str] = ()
    voice: str = voice.CALLER_VOICE
    listening: str = "grammar"
    """`grammar`, or `open`: how the agent is heard."""
    success: Success = field(default_factory=Success)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Story:
        """A story from its JSON. Raises ValueError that names the place."""
        unknown = set(value) - {"agent", "decoys", "voice", "listening", "steps", "success"}
        if unknown:
            raise ValueError(f"story: unknown keys {sorted(unknown)}")
        agent = value.get("agent", [])
        lines = dict(agent) if isinstance(agent, dict) else {str(line): str(line) for line in agent}
        steps = value.get("steps", [])
        for number, step in enumerate(steps):
            _check_step(number, step, lines)
        try:
            success = Success(**value.get("success", {}))
        except TypeError as error:
            raise ValueError(f"success: {error}") from error
        listening = value.get("listening", "grammar")
        if listening not in ("grammar", "open"):
            raise ValueError(f"story.listening: {listening!r} is neither 'grammar' nor 'open'")
        return cls(lines, steps, tuple(value.get("decoys", ())), str(value.get("voice", voice.CALLER_VOICE)), listening, success)


def _check_step(number: int, step: Mapping[str, Any], lines: Mapping[str, str]) -> None:
    kind = step.get("do")
    if kind not in _STEPS:
        raise ValueError(f"steps[{number}].do: {kind!r} is none of {sorted(_STEPS)}")
    allowed, needed = _STEPS[kind]
    if not needed <= set(step) or not set(step) <= allowed | {"do"}:
        raise ValueError(f"steps[{number}]: {kind} takes {sorted(allowed)} and needs {sorted(needed)}")
    for name in step.get("expect", ()):
        if name not in lines:
            raise ValueError(f"steps[{number}].expect: {name!r} is no line of the agent")
